"""Stored forms of items for codes whose codewords cannot be listed, and encoders trained through a quantizer.

`long_codes` stores rows of digits, of any number of bits, `set_codes` those of sets; `learned_quantizers` trains residual and
finite scalar quantizers together with the encoders.
"""

from rdsim.learning.families.stored.long_codes import (
    MOST_LISTED_BITS,
    LongCode,
    ProductDigits,
    SignDigits,
)

__all__ = ["MOST_LISTED_BITS", "LongCode", "ProductDigits", "SignDigits"]
