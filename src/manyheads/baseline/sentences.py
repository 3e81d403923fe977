"""Where sentences end, by one rule for all baselines."""

from __future__ import annotations

import itertools
import re

_END = re.compile(
    r"""(?<=[.!?])["'”’)\]]*\s+(?![a-z])"""  # a small letter goes on after "e.g." and "et al."
    r"""|(?<=[。！？])["'”’」』）]*\s*"""  # no space follows these
    r"""|\n\s*\n"""
)


def sentences(text: str) -> list[str]:
    """The sentences of a text, in order; none of a text without one.

    One ends at . ! ? before white space, unless a small letter follows; at 。！？; and at a blank line. Closing quotes and
    brackets belong to the sentence before. "Dr. Smith" is cut: there is no list of abbreviations.
    """
    starts = [0, *(match.end() for match in _END.finditer(text)), len(text)]
    found = (text[start:end].strip() for start, end in itertools.pairwise(starts))
    return [sentence for sentence in found if sentence]
