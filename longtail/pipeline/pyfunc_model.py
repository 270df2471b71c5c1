"""What MLflow runs to load a logged cell: this file is copied beside the model and carried out there.

Nothing is pickled: the weights are safetensors, and the library lies beside them.
"""

from pathlib import Path

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from longtail.inference.predictors import load_predictor
from longtail.inference.requests import as_images


class CellModel(PythonModel):
    """Images to a table: class, probability, probabilities [C]. See `as_images` for what may be sent."""

    _skip_type_hint_validation = True
    """`as_images` checks the input; without this MLflow advises type hints at every loading."""

    def load_context(self, context) -> None:
        """Make the model again from the artifacts `cell` and, for a head, `features`."""
        places = {name: Path(place) for name, place in context.artifacts.items()}
        weights = context.model_config["weights"]
        self.predictor = load_predictor(places["cell"], weights, features=places.get("features"))

    def predict(self, context, model_input, params=None):
        """One row an image: its most probable class, that one's probability, and all of them."""
        try:
            images = as_images(model_input, self.predictor.image_shape, self.predictor.pixel_rules)
        except ValueError as error:  # served: an answer 400 with these words
            raise MlflowException.invalid_parameter_value(str(error)) from None
        probabilities = self.predictor.probabilities(images)
        best = probabilities.argmax(axis=1)
        return pd.DataFrame(
            {
                "class": [self.predictor.class_names[index] for index in best],
                "probability": probabilities.max(axis=1),
                "probabilities": list(probabilities),
            }
        )


set_model(CellModel())
