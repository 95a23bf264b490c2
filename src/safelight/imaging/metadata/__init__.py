"""Metadata: what EXIF, IPTC, XMP and the colour profile say, read from stranger's bytes and never trusted.

Each reader takes a block and gives plain values; `facts` asks them all and decides whom to believe. None of them raises on
garbage, and all cut what is too long, too deep or too many. Text and numbers only; nothing here touches pixels.
"""
