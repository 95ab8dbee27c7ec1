"""A table of real, count and categorical columns as one event: samples against data.

    python examples/table.py                 # three tables that come with scikit-learn; 4 minutes
    python examples/table.py --data wine
    python examples/table.py --quick         # seconds, to see it run

Trains `recipes.table_vae` on nine tenths of each table, fits a mixture to the codes in place of
N(0, I), which codes of tables with clusters are far from, and draws OUTPUT/tables.png: for each
table the marginals of four columns, and the correlations of all pairs of columns, as drawn and as
they are. For both priors it prints the bound on the rows held out, the largest distance between
the distribution functions of a column's samples and its data (Kolmogorov and Smirnov's), and the
root mean squared error of the correlations. Beside each stands the same of two random halves of the
data, which is what chance alone does on tables as small.
"""

from pathlib import Path
from typing import Any

import keras
import matplotlib.figure
import numpy as np
import pandas as pd
import scipy.stats
import sklearn.datasets
import typer

import keras_vae as kv

#: Table -> how it is loaded, latent dimensions, kinds that the values do not speak for, and the
#: columns that are drawn.
TABLES: dict[str, tuple[Any, int, dict[str, str], tuple[str, ...]]] = {
    "wine": (
        lambda: sklearn.datasets.load_wine(as_frame=True).frame,
        4,
        {"target": "categorical"},
        ("alcohol", "flavanoids", "proline", "target"),
    ),
    "breast_cancer": (
        lambda: sklearn.datasets.load_breast_cancer(as_frame=True).frame,
        8,
        {},
        ("mean radius", "mean texture", "area error", "target"),
    ),
    "diabetes": (
        lambda: sklearn.datasets.load_diabetes(as_frame=True, scaled=False).frame,
        4,
        {},
        ("age", "sex", "bmi", "target"),
    ),
}


def correlations(frame: pd.DataFrame) -> np.ndarray:
    """Returns the correlations of all pairs of columns."""
    matrix = np.corrcoef(frame.to_numpy(np.float64), rowvar=False)
    return matrix[np.triu_indices(len(matrix), 1)]


def distances(one: pd.DataFrame, other: pd.DataFrame) -> tuple[float, float]:
    """Returns the largest distance of two tables' marginals, and that of their correlations."""
    columns = [scipy.stats.ks_2samp(one[name], other[name]).statistic for name in one]
    error = np.sqrt(np.mean((correlations(one) - correlations(other)) ** 2))
    return max(columns), float(error)


def draw(panels: Any, name: str, frame: pd.DataFrame, drawn: pd.DataFrame) -> None:
    for panel, column in zip(panels, TABLES[name][3]):
        few = frame[column].nunique() < 10
        values = np.sort(frame[column].unique())
        bins = np.append(values, values[-1] + 1) - 0.5 if few else 25
        low, high = frame[column].min(), frame[column].max()
        options = {"bins": bins, "density": True, "range": None if few else (low, high)}
        panel.hist(frame[column], **options, color="0.75", label="data")
        panel.hist(drawn[column], **options, histtype="step", color="C1", label="samples")
        panel.set(title=f"{name}: {column}", yticks=[])
        if few:
            panel.set_xticks(values)
    panels[0].legend(fontsize="small")
    panels[-1].plot([-1, 1], [-1, 1], color="0.75")
    panels[-1].plot(correlations(frame), correlations(drawn), "C0.", markersize=4)
    panels[-1].set(title=f"{name}: correlations", xlabel="of the data", ylabel="of the samples")


def main(data: str = "", output: Path = Path("runs/table"), quick: bool = False) -> None:
    names = [data] if data else list(TABLES)
    figure = matplotlib.figure.Figure((13, 2.7 * len(names)), layout="constrained", dpi=110)
    rows = figure.subplots(len(names), 5, squeeze=False)
    for panels, name in zip(rows, names):
        load, latent_dim, kinds, _ = TABLES[name]
        keras.utils.set_random_seed(0)
        frame = load().sample(frac=1.0, random_state=0, ignore_index=True)
        held_out, train = frame[: len(frame) // 10], frame[len(frame) // 10 :]
        vae = kv.recipes.table_vae(train, latent_dim, kinds, network="dense:widths=[128]")
        events, epochs = vae.likelihood.to_events(train), 2 if quick else 300
        vae.adapt(events)
        rate = keras.optimizers.schedules.CosineDecay(3e-3, epochs * -(-len(events) // 32))
        vae.compile(keras.optimizers.Adam(rate))
        vae.fit(events, batch_size=32, epochs=epochs, verbose=0)

        print(f"{name}: " + ", ".join(f"{c['name']} {c['kind']}" for c in vae.likelihood.columns))
        chance = distances(frame[::2], frame[1::2])
        fitted = vae.fit_prior(events, "mixture:components=3", samples=4)
        for prior, model in (("N(0, I)", vae), ("mixture", fitted)):
            bound = model.elbo(vae.likelihood.to_events(held_out), num_samples=50).mean()
            drawn = model.likelihood.to_frame(model.sample(2000, seed=0).x)
            found = distances(frame, drawn)
            print(f"  {prior}: ELBO of {len(held_out)} rows held out {bound:.2f} nats")
            print(f"    largest distance of marginals {found[0]:.2f} (two halves {chance[0]:.2f})")
            print(f"    error of correlations {found[1]:.2f} (two halves {chance[1]:.2f})")
        draw(panels, name, frame, drawn)
    output.mkdir(parents=True, exist_ok=True)
    figure.savefig(output / "tables.png")
    print(output / "tables.png")


if __name__ == "__main__":
    typer.run(main)
