"""The statement that a video was made by AI in the file's own metadata, for readers without C2PA."""

from __future__ import annotations

from xml.sax.saxutils import escape

from .. import __version__

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
GENERATED = f"{SOURCE_TYPES}trainedAlgorithmicMedia"
# A recording of which a model changed or added a part: a dubbed or a continued video.
COMPOSITE = f"{SOURCE_TYPES}compositeWithTrainedAlgorithmicMedia"
GENERATOR = "MultiTalk"

_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    Iptc4xmpExt:DigitalSourceType="{source_type}"
    Iptc4xmpExt:AISystemUsed="{generator}"
    Iptc4xmpExt:AISystemVersionUsed="{version}"
    xmp:CreatorTool="{generator} {version}">
   <dc:description><rdf:Alt><rdf:li xml:lang="x-default">{description}</rdf:li></rdf:Alt></dc:description>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""


def source_type(is_composite: bool) -> str:
    """Return the IPTC digital source type of a video."""
    return COMPOSITE if is_composite else GENERATED


def is_ai(source_type: str) -> bool:
    """Return whether a digital source type says that a model generated the file, or a part of it."""
    return source_type.lower().endswith("trainedalgorithmicmedia")


def ai_tags(is_composite: bool) -> dict[str, str]:
    """Return the tags of a marked file: a description for players, and XMP with IPTC's fields.

    Args:
        is_composite: Whether a video that AI did not make as a whole is in the file, changed or not.
    """
    what = "Generated in part" if is_composite else "Generated"
    description = f"{what} by artificial intelligence ({GENERATOR} {__version__})."
    values = {
        "source_type": source_type(is_composite),
        "generator": GENERATOR,
        "version": __version__,
        "description": description,
    }
    xmp = _XMP.format(**{name: escape(value) for name, value in values.items()})
    return {"description": description, "xmp": xmp}
