"""The OFA family: an encoder-decoder over image patches and words (spec 3 to 8).

"spec N", here and in all other files, means section N of ``docs/method.md``.
"""
