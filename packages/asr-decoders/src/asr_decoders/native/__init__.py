"""The inner loops of the decoders, compiled: an option, of the same results.

`available()` says whether the library is there and `why_not()` what is in its way. `search.NativeSearch` takes the
place of `asr_decoders.search.NumpySearch`, for what `models.supports`; `align` has the functions of
`asr_decoders.align`.
"""

from asr_decoders.native.loader import available, why_not

__all__ = ["available", "why_not"]
