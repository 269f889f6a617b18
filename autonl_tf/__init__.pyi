from autonl_tf.api.applications import AutoNLL as AutoNLL
from autonl_tf.api.applications import AutoNLS as AutoNLS
from autonl_tf.api.applications import backbone as backbone
from autonl_tf.api.applications import from_arch as from_arch
from autonl_tf.api.predictions import decode_predictions as decode_predictions
from autonl_tf.api.predictions import preprocess_input as preprocess_input
from autonl_tf.errors import UserError as UserError
from autonl_tf.layers.embedded_nl import EmbeddedNonLocal as EmbeddedNonLocal
from autonl_tf.layers.gated import GatedLightNL as GatedLightNL
from autonl_tf.layers.gated import GatedSqueezeExcite as GatedSqueezeExcite
from autonl_tf.layers.light_nl import LightNL as LightNL
from autonl_tf.layers.superkernel import SuperkernelDepthwiseConv2D as SuperkernelDepthwiseConv2D

__version__: str
