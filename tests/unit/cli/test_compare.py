"""`everforge compare`: figures follow from the seeds alone, policies are judged at equal spends, pictures are whole."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from everforge.cli.app import main
from everforge.cli.compare_plot import comparison_svg
from everforge.cli.compare_table import comparison_markdown
from everforge.model.search_settings import PolicyKind
from everforge.search.simulated.comparison import Comparison, Contest, contest_on
from everforge.search.simulated.contest import Axis, Course, Step, advantage, band
from everforge.search.simulated.landscapes import LANDSCAPES, NAMES, drawn_landscape

GREEDY, ELITES, TREE = PolicyKind.GREEDY, PolicyKind.MAP_ELITES, PolicyKind.TREE
SMALL = ["--repeats", "2", "--trials", "8"]


def compared(*contests: Contest) -> Comparison:
    return Comparison(policies=(GREEDY, TREE), repeats=2, trials=8, in_flight=1, contests=contests)


def course(policy: PolicyKind, *best: float, dollars: float = 1.0) -> Course:
    steps = tuple(
        Step.model_validate({"spent": {"trials": n, "dollars": n * dollars}, "best": value})
        for n, value in enumerate(best, start=1)
    )
    return Course(landscape="any", policy=policy, repeat=0, steps=steps)


def test_the_same_command_prints_the_same_figures(capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for _ in range(2):
        with pytest.raises(SystemExit, match="0"):
            main(["compare", *SMALL, "--landscapes", "fragile,drawn", "--json"])
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    comparison = Comparison.model_validate(json.loads(said[0]))
    assert [contest.landscape for contest in comparison.contests] == ["fragile", "drawn"]


def test_tables_name_every_policy_and_landscape(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["compare", *SMALL, "--landscapes", "smooth"])
    said = capsys.readouterr().out
    for expected in (*PolicyKind, "smooth: every idea helps", "2 trials", "8 trials", "device s"):
        assert expected in said


def test_reports_are_written_where_they_are_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["compare", *SMALL, "--landscapes", "smooth", "--policies", "tree,greedy", "--out", str(tmp_path / "new")])
    capsys.readouterr()
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        "comparison.json",
        "comparison.md",
        "comparison.svg",
    }
    written = Comparison.model_validate_json((tmp_path / "new" / "comparison.json").read_text())
    assert written.policies == (TREE, GREEDY)
    assert (tmp_path / "new" / "comparison.svg").read_text() == comparison_svg(written)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--policies", "greedy,genetic"], "no policy genetic: choose from greedy, map-elites, tree"),
        (["--policies", " , "], "no policy given"),
        (["--landscapes", "moon"], "no landscape moon: choose from smooth,"),
    ],
)
def test_what_does_not_exist_is_said_with_what_does(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["compare", *arguments])
    assert said in capsys.readouterr().err


def test_best_so_far_never_falls_and_never_passes_the_best_there_is() -> None:
    contest = contest_on("local optimum", (GREEDY, ELITES, TREE), repeats=3, trials=20, in_flight=4)
    assert len(contest.bands) == 3 * len(Axis)
    for drawn in contest.bands:
        values = [point.best.value for point in drawn.points]
        assert values == sorted(values)
        assert values[0] >= 1
        assert values[-1] <= LANDSCAPES["local optimum"].best + 1e-9


def test_axis_ends_where_the_cheapest_course_ends() -> None:
    contest = contest_on("smooth", (GREEDY, TREE), repeats=2, trials=6, in_flight=1)
    dollars = {policy: contest.band_of(policy, Axis.DOLLARS).last.spent for policy in (GREEDY, TREE)}
    assert dollars[GREEDY] == dollars[TREE] == pytest.approx(6 * 0.03)


def test_advantage_is_of_repeat_against_repeat() -> None:
    mine = [course(TREE, 1.0, 2.0), course(TREE, 1.0, 8.0)]
    other = [course(GREEDY, 1.0, 1.0), course(GREEDY, 1.0, 4.0)]
    assert advantage(mine, other, Axis.TRIALS, 2).value == pytest.approx(2.0)
    assert band(mine, Axis.TRIALS, 1).value == pytest.approx(1.0)
    assert band(mine, Axis.TRIALS, 2).value == pytest.approx(4.0)


def test_nothing_is_found_before_anything_is_spent() -> None:
    assert course(TREE, 3.0, dollars=0.5).best_at(Axis.DOLLARS, 0.4) == 1.0
    assert course(TREE, 3.0, dollars=0.5).best_at(Axis.DOLLARS, 0.5) == 3.0


def test_picture_has_a_line_and_a_band_for_each_policy_and_axis() -> None:
    svg = ET.fromstring(comparison_svg(compared(contest_on("drawn", (GREEDY, TREE), 2, 8, 1))))
    space = "{http://www.w3.org/2000/svg}"
    paths = svg.findall(f"{space}path")
    assert sum(path.get("fill-opacity") is not None for path in paths) == 2 * len(Axis)
    assert sum(path.get("stroke-width") == "2" for path in paths) == 2 * len(Axis) + 2
    said = [text.text for text in svg.findall(f"{space}text")]
    assert {"drawn", "greedy", "tree", "trials", "dollars", "device seconds"} <= set(said)


def test_page_has_a_table_for_each_landscape() -> None:
    page = comparison_markdown(compared(contest_on("smooth", (GREEDY, TREE), 2, 8, 1)))
    assert page.count("\n|---") == 1
    assert "| greedy | " in page
    assert "| tree | " in page


def test_drawn_landscapes_differ_and_are_sound() -> None:
    drawn = [drawn_landscape(seed) for seed in range(20)]
    assert drawn[0] == drawn_landscape(0)
    assert len({landscape.best for landscape in drawn}) > 15
    assert all(landscape.best >= landscape.start for landscape in drawn)
    for landscape in drawn:
        for idea in landscape.ideas:
            assert idea.name in landscape.with_idea(frozenset(), idea.name)


def test_every_named_landscape_can_be_run() -> None:
    for name in NAMES:
        assert contest_on(name, (GREEDY,), repeats=2, trials=3, in_flight=2).landscape == name
