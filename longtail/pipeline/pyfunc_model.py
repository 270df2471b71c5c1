"""What MLflow runs to load a logged cell: this file is copied beside the model and carried out there.

Nothing is pickled: the weights are safetensors, and the library lies beside them.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from longtail.inference.predictors import load_predictor


class CellModel(PythonModel):
    """Images uint8 [N, H, W, channels] to a table: class, probability, probabilities [C]."""

    _skip_type_hint_validation = True
    """MLflow checks images by the signature; without this it advises type hints at every loading."""

    def load_context(self, context) -> None:
        """Make the model again from the artifacts `cell` and, for a head, `features`."""
        places = {name: Path(place) for name, place in context.artifacts.items()}
        weights = context.model_config["weights"]
        self.predictor = load_predictor(places["cell"], weights, features=places.get("features"))

    def predict(self, context, model_input, params=None):
        """One row an image: its most probable class, that one's probability, and all of them."""
        probabilities = self.predictor.probabilities(np.asarray(model_input))
        best = probabilities.argmax(axis=1)
        return pd.DataFrame(
            {
                "class": [self.predictor.class_names[index] for index in best],
                "probability": probabilities.max(axis=1),
                "probabilities": list(probabilities),
            }
        )


set_model(CellModel())
