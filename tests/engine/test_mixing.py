"""Mixup, CutMix and erasing: what they do to images, and that labels follow by the same share."""

import numpy as np
import pytest
import tensorflow as tf

from autonl_tf.engine.mixing import Mixing, _beta
from autonl_tf.engine.objectives import classification_objective, cross_entropy
from autonl_tf.layers.draws import drawing

IMAGES = np.random.default_rng(0).uniform(1, 2, [4, 16, 12, 3]).astype(np.float32)
LABELS = np.arange(4)


def mixed(step=0, **settings):
    images, others, share = Mixing(**settings)(tf.constant(IMAGES), tf.constant(LABELS), tf.constant(step, tf.int64))
    return images.numpy(), others.numpy(), float(share)


def test_mixup_blends_with_the_reversed_batch_by_its_share():
    shares = []
    for step in range(50):
        images, others, share = mixed(step, mixup_alpha=0.5)
        np.testing.assert_allclose(images, share * IMAGES + (1 - share) * IMAGES[::-1], rtol=1e-5)
        np.testing.assert_array_equal(others, LABELS[::-1])
        shares.append(share)
    assert np.mean(shares) == pytest.approx(0.5, abs=0.15)
    assert np.var(shares) == pytest.approx(1 / 8, abs=0.05)  # Beta(a, a): 1 / (4 (2 a + 1))


def test_cutmix_pastes_one_rectangle_and_its_share_is_the_rest():
    for step in range(30):
        images, _, share = mixed(step, cutmix_alpha=1.0)
        pasted = np.all(images == IMAGES[::-1], axis=-1)
        kept = np.all(images == IMAGES, axis=-1)
        assert np.all(pasted ^ kept) and np.all(pasted == pasted[0])
        rows, columns = np.flatnonzero(pasted[0].any(axis=1)), np.flatnonzero(pasted[0].any(axis=0))
        assert pasted[0].sum() == len(rows) * len(columns)
        assert share == pytest.approx(1 - pasted[0].mean(), abs=1e-6)


def test_a_coin_takes_one_of_the_two():
    blended = 0
    for step in range(40):
        images, *_ = mixed(step, mixup_alpha=1.0, cutmix_alpha=1.0)
        blended += not np.all((images == IMAGES) | (images == IMAGES[::-1]))
    assert 8 < blended < 32


def test_erasing_takes_a_rectangle_of_each_image_by_itself():
    whole, areas = 0, []
    for step in range(60):
        images, others, share = mixed(step, random_erasing=0.75)
        assert share == 1 and np.all(others == LABELS)
        gone = np.all(images == 0, axis=-1)
        assert np.all(gone | np.all(images == IMAGES, axis=-1))
        for one in gone:
            whole += not one.any()
            rows, columns = one.any(axis=1).sum(), one.any(axis=0).sum()
            assert one.sum() == rows * columns
            areas.append(one.mean())
    assert whole / 240 == pytest.approx(0.25, abs=0.1)
    assert max(areas) < 0.45


def test_the_same_seed_and_step_mix_alike_and_others_do_not():
    first, again = (mixed(3, mixup_alpha=1.0, seed=5)[2] for _ in range(2))
    assert first == again
    assert len({first, mixed(4, mixup_alpha=1.0, seed=5)[2], mixed(3, mixup_alpha=1.0, seed=6)[2]}) == 3


def test_every_part_of_the_global_batch_is_mixed_by_draws_of_its_own():
    def share(micro_batch, count):
        with drawing(0, tf.constant(3), tf.constant(micro_batch), count):
            return mixed(3, mixup_alpha=1.0)[2]

    shares = [share(number, 4) for number in range(4)]
    assert len(set(shares)) == 4
    assert shares[0] == mixed(3, mixup_alpha=1.0)[2]


@pytest.mark.parametrize("alpha", [0.02, 0.2, 1.0, 8.0])
def test_shares_follow_a_beta_distribution(alpha):
    rng = np.random.default_rng(0)
    draws = rng.uniform(size=[2, 200_000]).astype(np.float32)
    draws[:, :2] = [[0, 1 - 2**-23], [0.25, 0.25]]  # the ends of what is drawn
    found = _beta(alpha, tf.constant(draws)).numpy()
    assert found.min() >= 0 and found.max() <= 1
    expected = rng.beta(alpha, alpha, size=200_000)
    for bound in (0.001, 0.01, 0.1, 0.3, 0.45, 0.5, 0.55, 0.7, 0.9, 0.99):
        assert (found < bound).mean() == pytest.approx((expected < bound).mean(), abs=0.005)


@pytest.mark.parametrize(
    "settings",
    [{"mixup_alpha": 0.2}, {"cutmix_alpha": 1.0}, {"mixup_alpha": 0.2, "cutmix_alpha": 1.0, "random_erasing": 0.5}],
)
def test_xla_mixes_alike(settings):
    mixing = Mixing(**settings)

    def both(images, labels, step):
        with drawing(0, step, tf.constant(1), 2):
            return mixing(images, labels, step)

    arguments = (tf.constant(IMAGES), tf.constant(LABELS), tf.constant(5, tf.int64))
    for plain, compiled in zip(both(*arguments), tf.function(both, jit_compile=True)(*arguments), strict=True):
        np.testing.assert_allclose(compiled, plain, rtol=1e-5, atol=1e-6)


def test_the_loss_follows_the_share_and_the_weights():
    kernel = tf.Variable(np.random.default_rng(1).normal(size=[3, 4]).astype(np.float32))

    class Linear:
        trainable_variables = (kernel,)
        submodules = ()

        def __call__(self, images, training):
            return tf.reduce_mean(images, [1, 2]) @ kernel

    weights, mixing = [1.0, 2.0, 3.0, 0.5], Mixing(mixup_alpha=1.0, seed=1)
    objective = classification_objective(
        Linear(), global_batch_size=4, num_micro_batches=1, label_smoothing=0.1, class_weights=weights, mixing=mixing
    )
    loss, metrics = objective(tf.constant(IMAGES), tf.constant(LABELS), tf.constant(2, tf.int64))
    images, others, share = mixing(tf.constant(IMAGES), tf.constant(LABELS), tf.constant(2, tf.int64))
    logits = Linear()(images, training=True)
    expected = sum(
        part * np.sum(np.array(weights)[k] * cross_entropy(logits, k, 0.1).numpy())
        for part, k in ((float(share), LABELS), (1 - float(share), others.numpy()))
    )
    assert float(loss) == pytest.approx(expected / 4, rel=1e-5)
    assert float(metrics["cross_entropy"][0]) == pytest.approx(expected, rel=1e-5)
