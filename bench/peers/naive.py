"""What a person writes first: FastAPI, pydantic, a DataFrame, `model.predict`."""

import os
from typing import Any

import pandas as pd
from fastapi import FastAPI
from models import make
from pydantic import BaseModel

model = make(os.environ["MODEL"])
app = FastAPI()


class Body(BaseModel):
    """Rows, as they come."""

    rows: list[dict[str, Any]]


class Table(BaseModel):
    """Columns, as they come."""

    columns: dict[str, list[Any]]


@app.post("/predict")
def predict(body: Body) -> dict[str, Any]:
    """Predict."""
    return {"predictions": model.predict(pd.DataFrame(body.rows)).tolist()}


@app.post("/table")
def predict_table(body: Table) -> dict[str, Any]:
    """Predict for many rows."""
    return {"predictions": model.predict(pd.DataFrame(body.columns)).tolist()}
