"""The page and the files of a report: what they say of measurements and models."""

import dataclasses
import html.parser
import math
import re

import numpy as np
import pytest

from rdsim import limits
from rdsim.embeddings import METRICS
from rdsim.embeddings.models.twin import (
    GAUSSIAN,
    ISOTROPIC,
    first_targets,
)
from rdsim.embeddings.report.rows import size_rows, system_rows, target_rows
from rdsim.embeddings.report.words import SIZES, assumption, cautions, sentences, verdicts
from rdsim.finite_sample import predict_quality


def test_advice_is_of_the_space_in_which_codes_work(report):
    """Vectors as given of an MRR of 0.1, those in the chosen space of 0.9, and codes of 0.2, 0.5 and 0.88 at 4, 8 and 16 bits."""
    given, chosen = report.lines.index("as given"), report.lines.index("canonical")
    value, lower = report.quality.value.copy(), report.kept.lower.copy()
    ratio = report.kept.value.copy()
    value[:, 0], lower[:, 0] = 0.05, 0.05
    value[given, 0], value[chosen, 0] = 0.1, 0.9
    for bits, mrr in ((4, 0.2), (8, 0.5), (16, 0.88)):
        line = next(
            i
            for i, n in enumerate(report.lines)
            if n == "transform code" and report.bits[i] == bits
        )
        value[line, 0] = mrr
    ratio[:, 0] = value[:, 0] / 0.9
    found = dataclasses.replace(
        report,
        reference=chosen,
        quality=dataclasses.replace(report.quality, value=value),
        kept=dataclasses.replace(report.kept, value=ratio, lower=lower),
        models=None,
    )
    said = sentences(found)
    assert said[0].startswith("Uncompressed in the space “canonical”, at ")
    assert "keeps 95% of it is “transform code” at 16 bits" in said[1]
    assert "it has 97.8% of it" in said[1]
    better = (
        "Compare vectors in the space “canonical”, in which they have an MRR of 0.900 uncompressed"
    )
    assert f"{better}, and 0.100 as given." in said[3]
    assert "Store 16 bits per item with “transform code”." in said[3]
    # Less than a hundredth of a bit is not said to be proved.
    poor = dataclasses.replace(found, reference=given)
    poor = dataclasses.replace(poor, quality=dataclasses.replace(found.quality, value=value.copy()))
    assert poor.bits_by_proof(0.95) < 0.5
    none = dataclasses.replace(poor, groups=np.array([1]))
    assert "No number of bits is proved to be too few" in sentences(none)[2]
    assert "nothing proved" in target_rows(none)[1][1]
    lower[given, 0] = 1.1
    asked = dataclasses.replace(found, kept=dataclasses.replace(found.kept, lower=lower))
    assert "Fit codes in the space “as given” too" not in said[3]
    value[given, 0] = 0.95
    asked = dataclasses.replace(asked, quality=dataclasses.replace(found.quality, value=value))
    assert "Fit codes in the space “as given” too" in sentences(asked)[3]


@pytest.mark.parametrize("enough", [True, False])
@pytest.mark.parametrize(
    ("called", "mine"),
    [
        ("yours", "Your code"),
        ("yours (codes.npy)", "Your code “codes.npy”"),
        ("mine", "Your code “mine”"),
    ],
)
@pytest.mark.parametrize(
    ("bits", "mrr", "said"),
    [
        (16, 0.01, "is below "),
        (16, 0.499, "is not below "),
        (1, 0.3, "has fewer bits than every code that was measured."),
    ],
)
def test_ones_own_code_is_held_against_the_best_of_as_few_bits(
    report, bits, mrr, said, enough, called, mine
):
    """Whether or not some code keeps 95 %."""
    own = report.kinds.index("code")
    space, plain = report.lines.index("as given"), report.lines.index("canonical")
    value, size, ratio = report.quality.value.copy(), report.bits.copy(), report.kept.value.copy()
    value[:, 0] = 0.2
    value[own, 0], size[own], ratio[:, 0] = mrr, bits, 1.0 if enough else 0.5
    value[space, 0] = 2 * mrr
    found = dataclasses.replace(
        report,
        reference=plain,
        lines=tuple(called if i == own else name for i, name in enumerate(report.lines)),
        kinds=tuple("yours" if i == own else kind for i, kind in enumerate(report.kinds)),
        spaces=tuple("as given" if i == own else name for i, name in enumerate(report.spaces)),
        bits=size,
        quality=dataclasses.replace(report.quality, value=value),
        kept=dataclasses.replace(report.kept, value=ratio),
    )
    advice = sentences(found)[-1]
    assert (
        f"{mine} ({bits} bits, MRR {mrr:.3f}, which is 50.0% of that of the vectors as given) {said}"
        in advice
    )
    assert ("Keep the vectors" in advice) == (not enough)


def test_a_model_of_directions_is_doubted_where_lengths_count(report):
    """From a spread on that moves scores as much as directions do; a model that is doubted is not praised."""
    line, twin = report.models.calibrated_to, report.models.twin(ISOTROPIC)
    least = 1 / math.sqrt(report.item_dimension[line])
    for factor, doubted in ((0.99, False), (1.01, True)):
        spread = np.full(len(report.lines), factor * least)
        found = dataclasses.replace(report, item_length_spread=spread, similarity="L2")
        said = [line for line in verdicts(found) if ISOTROPIC in line]
        assert ("here lengths count: under the similarity L2" in said[0]) == doubted
        assert (f"standard deviation is {factor * least:.0%} of their mean" in said[0]) == doubted
        assert any("No measured code contradicts" in one for one in said) == (not doubted)
        assert (f"in the {twin.name} (doubtful model)" in target_rows(found)[0][2 + 2]) == doubted
        assert "(model)" in target_rows(found)[0][2]


@pytest.mark.parametrize("similarity", ["cosine", "inner product", "L2"])
def test_lengths_and_zeros_that_matter_are_said_in_a_sentence(report, similarity):
    """From the level on that the sentence names, and not below; a cosine has lengths as given alone."""
    plain, cosine = report.reference, similarity == "cosine"
    level = 1 / math.sqrt(report.item_dimension[plain])
    none = {"zero_queries": 0.0, "zero_items": 0.0, "item_norm_spread": 0.0}
    calm = dataclasses.replace(
        report,
        similarity=similarity,
        diagnostics=report.diagnostics | none,
        item_length_spread=np.zeros(len(report.lines)),
    )
    assert cautions(calm) == []
    for factor in (0.99, 1.01):
        spread = factor * level
        found = dataclasses.replace(
            calm,
            diagnostics=calm.diagnostics | {"item_norm_spread": spread if cosine else 0.0},
            item_length_spread=np.full(len(report.lines), 0.0 if cosine else spread),
        )
        said = cautions(found)
        assert len(said) == (factor > 1)
        if said:
            assert f"{spread:.0%} of their mean. From {level:.0%} on" in said[0]
            other = {"cosine": "inner product", "inner product": "long items", "L2": "short items"}
            assert other[similarity] in said[0]
            assert said[0] in found.report()
            assert said[0] in found.page()
    for side in ("queries", "items"):
        zeros = calm.diagnostics | {f"zero_{side}": 0.006}
        said = cautions(dataclasses.replace(calm, diagnostics=zeros))
        assert len(said) == 1
        assert all(f"0.6% of the {side} as given are zero" in one for one in said)
        fewer = calm.diagnostics | {f"zero_{side}": 0.004}
        assert cautions(dataclasses.replace(calm, diagnostics=fewer)) == []


def test_the_bits_of_a_target_are_where_the_lines_pass_it(report):
    twin = report.models.twin(GAUSSIAN)
    for bits, quality in zip(twin.bits[:8:2], twin.code[:8:2, 0], strict=True):
        assert twin.bits_for(quality) == pytest.approx(bits, rel=1e-9, abs=0)
    assert twin.bits_for(1.0) is None
    assert twin.bits_by_converse(twin.converse[1, 0] + 1e-9) == twin.converse_bits[1]
    assert twin.bits_by_converse(0.0) is None


def test_C4_the_proved_bits_invert_the_converse(measured):
    k = measured.groups[0]
    np.testing.assert_array_equal(measured.group_shares, [[0.0, 1.0]])
    wanted = 0.95 * measured.values("mrr")[measured.reference]
    rate = measured.bits_by_proof(0.95)
    reached = 1 - float(limits.rank_loss(math.log2(k), "reciprocal_rank", rate=rate).lower)
    assert reached == pytest.approx(wanted, rel=1e-6, abs=0)
    assert measured.bits_by_proof(0.0) == 0.0
    curve = measured.to_xarray().proved_bits.sel(metric="recall@5").values
    assert (np.diff(curve) >= 0).all()
    assert curve[-1] == pytest.approx(math.log2(k / 5), rel=1e-6, abs=0)


def test_what_a_prediction_assumes_is_said_in_words(report):
    """Whatever candidate has the largest weight, at its place in the table."""
    sizes = report.models.sizes
    task = first_targets(report, int(sizes.line[0]))
    found = predict_quality(
        task[0],
        "reciprocal_rank",
        competitors=report.database - 1,
        log2_size=20,
        tied=task[1],
    )
    said = [assumption(name) for name in found.candidates]
    assert len(set(said)) == len(said) > 6
    words = " ".join(said)
    assert not re.search("probit|ln p|/M|p <", words + SIZES)
    assert "for queries whose target fewer than 8 of the items beat" in words
    header, rows = size_rows(report)
    assert header[-1] == "what most of the prediction assumes"
    assert [row[-1] for row in rows] == [assumption(name) for name in sizes.method[:, -1]]


class _Tags(html.parser.HTMLParser):
    """Every element that is opened is closed, in order."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.text, self.links = [], set(), [], []

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.add(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)


def test_the_page_holds_the_numbers_and_nothing_from_elsewhere(report):
    text = report.page()
    tags = _Tags()
    tags.feed(text)
    assert tags.open == []
    assert tags.seen.isdisjoint({"script", "link", "img", "iframe", "object", "noscript"})
    assert "http" not in text
    assert "url(" not in re.sub(r"url\(#\w+\)", "", text)
    assert "@import" not in text
    assert tags.links
    assert all(link.startswith("#") and f'id="{link[1:]}"' in text for link in tags.links)
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    said = " ".join(tags.text)
    for sentence in sentences(report):
        assert sentence in said
    assert f"From {report.log2_groups:.2f} bits on an item can name its group, and no bound" in said
    assert len(sentences(report)) == 4
    for line, name in enumerate(report.lines):
        assert name in said
        for column, _ in enumerate(METRICS):
            assert f"{report.quality.value[line, column]:.3f}" in said
        assert f"{report.kept.value[line, 0]:.1%}" in said
    for row in target_rows(report)[1]:
        assert all(cell in said for cell in row)
    sizes = report.models.sizes
    assert f"{sizes.value[0, -1]:.3f} [{sizes.lower[0, -1]:.3f}" in said
    assert f"{report.models.twins[0].error:+.3f}" in said
    assert text.count("<figure ") == 4
    # One way to write a share and a metric.
    assert not re.search("[0-9] %|mrr|ndcg", said)
    assert [name for name, _ in system_rows(report)[0]][3:8:4] == ["MRR", "nDCG@10"]


def test_a_notebook_shows_the_page_in_a_frame(measured):
    class Frame(html.parser.HTMLParser):
        def handle_starttag(self, tag, attrs):
            self.found = tag, dict(attrs)["srcdoc"]

    frame = Frame()
    frame.feed(measured._repr_html_())
    assert frame.found == ("iframe", measured.page())


def test_the_dataset_holds_the_models(report):
    found = report.to_xarray()
    twin = report.models.twin(GAUSSIAN)
    np.testing.assert_array_equal(found.gaussian_twin_code, twin.code)
    np.testing.assert_array_equal(found.mrr_by_size, report.models.sizes.value)
    assert found.gaussian_twin_code.attrs["assumes"] == twin.assumes
    assert report.models.twin("another") is None
