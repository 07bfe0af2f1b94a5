"""The modules of this package as layers of Keras 3: tracked, trained, saved, under Keras's dtype policies.

They compute with TensorFlow, so they need Keras's TensorFlow backend.
"""

from tf_mlm.keras.backend import check_backend

check_backend()

from tf_mlm.keras.encoder import Encoder  # noqa: E402 - not before the backend is known
from tf_mlm.keras.mask_generator import MaskedLMMaskGenerator  # noqa: E402
from tf_mlm.keras.masked_lm_head import MaskedLMHead  # noqa: E402
from tf_mlm.keras.reversible_embedding import ReversibleEmbedding  # noqa: E402

__all__ = ["Encoder", "MaskedLMHead", "MaskedLMMaskGenerator", "ReversibleEmbedding"]
