from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch

from cluster import member_settings
from tests.unit.training import tables
from training.members import Crew, Rows, inputs, network
from training.members.torch import TorchMember, TorchModel, draw, pace

SMALL = member_settings.Torch(epochs=3, patience=3, networks=2, hidden=(8,), pieces=4, batch_size=64)


def member_of(**changes: object) -> TorchMember:
    return TorchMember(SMALL.model_copy(update=changes), tables.schema_of("binary"))


def test_pieces_end_at_the_quantiles_of_the_training_rows():
    X = np.column_stack([np.arange(101), np.full(101, 3.0), np.zeros(101)]).astype(np.float32)
    read = inputs.Inputs(numbers=[0, 1], mean=[50, 3], scale=[1, 0], gaps=[0, 0], categories=[], sizes=[])
    reading = network.learn(read, Rows(X, np.zeros(101)), 4, Crew())
    assert inputs.unpack(reading.knots).tolist() == [[0, 25, 50, 75], [0, 0, 0, 0]]
    assert inputs.unpack(reading.steepness).tolist() == [[np.float32(1 / 25)] * 4, [0] * 4]
    assert (inputs.unpack(reading.low).tolist(), inputs.unpack(reading.high).tolist()) == ([0, 3], [100, 3])


def test_every_worker_reads_numbers_as_rank_zero_does():
    read = inputs.Inputs(numbers=[0], mean=[0], scale=[1], gaps=[0], categories=[], sizes=[])
    box: list[object] = []

    def give(item: object) -> object:
        box.append(item)
        return item

    first = network.learn(read, Rows(np.arange(9, dtype=np.float32)[:, None], np.zeros(9)), 2, Crew(size=2, share=give))
    other = Rows(np.full((9, 1), 99, dtype=np.float32), np.zeros(9))
    assert network.learn(read, other, 2, Crew(rank=1, size=2, share=lambda _: box[0])) == first


def test_steps_grow_with_the_rows_until_batches_do_and_then_an_epoch_is_a_part():
    assert pace(75_000, 256) == (293, 256)
    assert pace(3_000, 256) == (93, 32)
    assert pace(10, 256) == (1, 10)
    assert pace(1_000_000, 256) == (2000, 500)
    assert pace(20_000_000, 256) == (2000, 1024)


def test_an_epoch_draws_every_row_once():
    batches = list(draw(1000, 7, 143))
    assert len(batches) == 7
    assert torch.cat(batches).sort().values.tolist() == list(range(1000))


def test_an_epoch_of_many_rows_draws_neighbours_near_each_other_and_no_row_twice():
    batches = list(draw((1 << 20) + 5000, 100, 50))
    drawn = torch.cat(batches)
    assert len(batches) == 100
    assert len(drawn) == len(set(drawn.tolist())) == 5000
    assert len(set((drawn // 4096).tolist())) <= 64
    assert (drawn[1:] - drawn[:-1]).abs().float().mean() > 4096


def test_another_seed_gives_another_network():
    rows = tables.rows_of("binary", 200)
    assert member_of().fit(rows, None, Crew(seed=1)) != member_of().fit(rows, None, Crew(seed=2))


def test_patience_ends_a_fit_and_the_best_epoch_is_kept():
    train = tables.rows_of("binary", 300)
    valid = Rows(train.X, 1 - train.y)  # whoever learns gets worse
    states: list[bytes] = []
    fit = member_of(epochs=9, patience=2).fit(train, valid, Crew(save=lambda state: states.append(state())))
    assert fit.effort == 1
    assert len(states) == 3
    heavy = Rows(np.vstack([valid.X, train.X]), np.hstack([valid.y, train.y]), np.repeat([1e-9, 1.0], 300))
    assert member_of(epochs=3).fit(train, heavy, Crew()).effort == 3


def test_a_fit_on_a_place_of_its_own_leaves_torch_as_it_was():
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    member_of().fit(tables.rows_of("binary", 100), None, Crew(threads=1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("networks", [1, 3])
def test_the_scores_are_the_mean_of_the_networks(networks):
    rows, member = tables.rows_of("binary", 200), member_of(networks=networks)
    native = member.fit(rows, None, Crew()).native
    fitted = msgspec.json.decode(native, type=TorchModel)
    own = network.Network(fitted.reads, network.Shape(networks, fitted.hidden, 1)).eval()
    own.load_state_dict({name: torch.from_numpy(inputs.unpack(array)) for name, array in fitted.weights.items()})
    with torch.no_grad():
        margins = own(torch.from_numpy(rows.X))
    assert margins.shape == (200, networks, 1)
    np.testing.assert_allclose(member.score(native, rows.X), torch.sigmoid(margins.mean(dim=1)).numpy(), atol=1e-6)


def test_infinite_numbers_count_as_the_largest_known():
    rows, member = tables.rows_of("binary", 200), member_of()
    native = member.fit(rows, None, Crew()).native
    wild = np.repeat(rows.X[:1], 2, axis=0)
    wild[0, 0], wild[1, 0] = np.inf, np.nanmax(rows.X[:, 0])
    scores = member.score(native, wild)
    assert scores[0] == scores[1]
