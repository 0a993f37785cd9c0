"""What the paper's own table says (arXiv 2506.04283), to stand beside our numbers."""

PAPER: dict[tuple[str, str, str], float] = {
    ("ssimbad", "same", "psnr"): 15.15,
    ("ssimbad", "cross", "psnr"): 13.04,
    ("ssimbad", "same", "ms_ssim"): 0.7115,
    ("ssimbad", "cross", "ms_ssim"): 0.6736,
    ("ssimbad", "same", "fid"): 53.33,
    ("ssimbad", "cross", "fid"): 55.18,
    ("ssimbad_refined", "same", "psnr"): 18.92,
    ("ssimbad_refined", "cross", "psnr"): 15.84,
    ("ssimbad_refined", "same", "ms_ssim"): 0.8512,
    ("ssimbad_refined", "cross", "ms_ssim"): 0.8207,
    ("ssimbad_refined", "same", "fid"): 34.98,
    ("ssimbad_refined", "cross", "fid"): 37.10,
}
"""(method, setting, metric) → value, on 579 Danbooru faces at 256 px."""

LABELS = {
    "reference": "Copy of the reference",
    "ssimbad": "SSIMBaD, without refinement",
    "ssimbad_refined": "SSIMBaD, with refinement",
}
"""Rows as people read them; a row without one is called by its id."""
