"""Profilers' exports: every figure of the samples in `profiles/` is read, and a broken export is one clear error."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from everforge.errors import UsageError
from everforge.model.device import DeviceKind
from everforge.model.kernel_profile import HostGaps, KernelProfile, Profile, ProfileTool, Stall
from everforge.runners.profiles.export_text import Export, export_of
from everforge.runners.profiles.quantities import factor, number
from everforge.runners.profiles.reading import READERS, profile_of, read_profile

SAMPLES = Path(__file__).parent / "profiles"
FILES = {
    "nsight_raw.csv": ProfileTool.NSIGHT_COMPUTE,
    "nsight_details.csv": ProfileTool.NSIGHT_COMPUTE,
    "torch_cuda_trace.json": ProfileTool.TORCH_PROFILER,
    "unitrace_quoted.txt": ProfileTool.UNITRACE,
    "unitrace_plain.txt": ProfileTool.UNITRACE,
    "vtune_hotspots.tsv": ProfileTool.VTUNE,
}


def sample(name: str) -> Export:
    return Export(name, (SAMPLES / name).read_text("utf-8"))


def kernel(profile: Profile, name: str) -> KernelProfile:
    return next(kernel for kernel in profile.kernels if kernel.name == name)


# What the samples say


def test_raw_page_of_nsight_compute_gives_every_figure_in_base_units() -> None:
    softmax = kernel(read_profile(SAMPLES / "nsight_raw.csv"), "softmax_rows")
    assert softmax.launches == 2
    assert softmax.time_us == pytest.approx(12.3 + 12.6)
    assert (softmax.bytes_read, softmax.bytes_written) == pytest.approx((16.8e6, 8.4e6))
    assert softmax.bandwidth_bytes_per_s == pytest.approx((1024.5e9 * 12.3 + 1000e9 * 12.6) / 24.9)
    assert (softmax.threads_per_block, softmax.blocks, softmax.registers_per_thread) == (256, 64, 40)
    assert softmax.shared_bytes == 32770 + 16
    assert softmax.block_limits == {"registers": 6, "shared_memory": 7, "warps": 8, "blocks": 32}
    assert softmax.occupancy_theoretical == 0.75
    assert softmax.waves == pytest.approx(0.48)
    assert softmax.busy_share == pytest.approx((18200.5 * 12.3 + 18000 * 12.6) / 24.9 / 20000)
    assert softmax.flops_per_s == pytest.approx((2**20 + 2 * 2**21 + 2**19) * (1 / 12.3e-6 * 12.3 + 1e6) / 24.9)


def test_stalls_are_shares_of_the_cycles_between_instructions_without_the_one_that_issues() -> None:
    softmax = kernel(read_profile(SAMPLES / "nsight_raw.csv"), "softmax_rows")
    assert softmax.stalls == (Stall(reason="long_scoreboard", share=0.6), Stall(reason="barrier", share=0.125))


def test_nothing_that_a_kernel_has_no_value_for_becomes_0() -> None:
    profile = read_profile(SAMPLES / "nsight_raw.csv")
    gemm = kernel(profile, "void gemm<float, 128>(float const *, float *)")
    assert gemm.flops_per_s is None
    assert gemm.matrix_utilisation == pytest.approx(0.834)
    assert gemm.spilled_bytes is None
    assert any("spilled bytes" in note for note in profile.notes)


def test_details_page_of_nsight_compute_is_read_by_its_labels() -> None:
    profile = read_profile(SAMPLES / "nsight_details.csv")
    copy = profile.kernels[0]
    assert copy.time_us == pytest.approx(35.26)
    assert copy.bandwidth_bytes_per_s == pytest.approx(4.12e12)  # not the 91.3 % under the same label
    assert copy.shared_bytes == 16380 + 512
    assert (copy.blocks, copy.registers_per_thread) == (4096, 18)
    assert copy.occupancy_achieved == pytest.approx(0.8642)
    assert profile.sources["l2_hit_rate"] == "L2 Hit Rate"
    assert copy.bytes_read is None
    assert any("dram__bytes_read.sum" in note for note in profile.notes)


def test_trace_of_a_gpu_gives_kernels_and_the_time_between_them() -> None:
    profile = read_profile(SAMPLES / "torch_cuda_trace.json")
    assert (profile.device, profile.device_name) == (DeviceKind.CUDA, "NVIDIA H200")
    assert [kernel.name for kernel in profile.kernels] == ["softmax_rows", "row_sum"]
    assert profile.kernels[0].share == pytest.approx(26 / 32)
    assert profile.kernels[0].occupancy_achieved == pytest.approx(0.06)
    assert profile.kernels[1].occupancy_achieved is None  # Kineto writes 0 where it cannot tell
    assert profile.host_gaps == HostGaps(span_us=50, idle_us=16, longest_us=13, count=2)


def test_unitrace_tables_of_one_run_come_together_by_kernel() -> None:
    profile = read_profile(SAMPLES / "unitrace_quoted.txt")
    gemm = kernel(profile, "gemm_kernel")
    assert (gemm.launches, gemm.time_us, gemm.share) == (4, 480.0, 0.75)
    assert (gemm.spilled_bytes, gemm.shared_bytes, gemm.registers_per_thread) == (1920, 65536, 256)
    assert (gemm.blocks, gemm.threads_per_block) == (512, 256)
    assert (gemm.bytes_read, gemm.l2_hit_rate) == (4 * 33554432, 0.75)
    assert gemm.busy_share == pytest.approx(0.9275)
    assert gemm.matrix_utilisation == pytest.approx(0.55125)
    assert kernel(profile, "row_softmax").registers_per_thread is None  # `unknown`


def test_unitrace_of_older_versions_has_names_without_quotes_and_numbers_without_commas() -> None:
    profile = read_profile(SAMPLES / "unitrace_plain.txt")
    assert [kernel.name for kernel in profile.kernels] == ["hgemm_nn_64x40<half, float>"]
    assert profile.kernels[0].spilled_bytes == 0
    assert profile.kernels[0].shared_bytes == 8


def test_bytes_of_fewer_launches_than_were_timed_are_no_total() -> None:
    gemm = read_profile(SAMPLES / "unitrace_plain.txt").kernels[0]
    assert gemm.launches == 2
    assert gemm.bytes_read is None
    assert gemm.bandwidth_bytes_per_s == pytest.approx((848934528 + 125991296) / 4733040e-9)


def test_vtune_rows_of_one_kernel_at_two_widths_are_one() -> None:
    profile = read_profile(SAMPLES / "vtune_hotspots.tsv")
    assert [kernel.name[:13] for kernel in profile.kernels] == ["GemmUniversal", "zeCommandList"]
    gemm = profile.kernels[0]
    assert gemm.launches == 30
    assert gemm.time_us == pytest.approx(60_000)
    assert gemm.bandwidth_bytes_per_s == pytest.approx(180.7e9)
    assert gemm.bytes_read == pytest.approx(120.5e9 * 0.06)
    assert gemm.busy_share == pytest.approx(0.467)
    assert gemm.spilled_bytes == 512
    assert [stall.reason for stall in gemm.stalls] == ["sbid", "send", "instruction_fetch"]


@pytest.mark.parametrize(("name", "tool"), FILES.items())
def test_tool_is_recognised_and_sources_name_only_figures_that_are_there(name: str, tool: ProfileTool) -> None:
    profile = profile_of(sample(name))
    assert profile.tool is tool
    assert profile == profile_of(sample(name), tool)
    assert profile.sources.keys() <= KernelProfile.model_fields.keys()
    assert sum(kernel.share or 0 for kernel in profile.kernels) == pytest.approx(1)


# Forms of one export


def test_gzip_utf_16_and_a_byte_order_mark_are_undone() -> None:
    text = (SAMPLES / "nsight_details.csv").read_text("utf-8")
    plain = profile_of(Export("x", text))
    for content in (gzip.compress(text.encode()), text.encode("utf-16"), text.encode("utf-8-sig")):
        assert profile_of(export_of("x", content)) == plain


def test_metric_queries_of_one_ncu_run_without_a_page_have_a_row_for_each_metric() -> None:
    head = '"ID","Process ID","Kernel Name","Block Size","Grid Size","Metric Name","Metric Unit","Metric Value"\n'
    rows = (
        '"0","7","saxpy","(256, 1, 1)","(16384, 1, 1)","dram__bytes_read.sum","","n/a"\n'
        '"0","7","saxpy","(256, 1, 1)","(16384, 1, 1)","gpu__time_duration.sum","nsecond","1,205,000"\n'
        "output of the program\n"
        '"1","7","saxpy","(256, 1, 1)","(16384, 1, 1)","gpu__time_duration.sum","msecond","1.2"\n'
    )
    saxpy = profile_of(Export("x.csv", head + rows)).kernels[0]
    assert (saxpy.launches, saxpy.blocks) == (2, 16384)
    assert saxpy.time_us == pytest.approx(2405)
    assert saxpy.bytes_read is None


def test_rows_of_the_details_page_may_end_with_a_comma_where_no_column_is() -> None:
    head = '"ID","Kernel Name","Section Name","Metric Name","Metric Unit","Metric Value"\n'
    row = '"0","saxpy","Launch Statistics","Registers Per Thread","register/thread","18",\n'
    text_value = '"0","saxpy","Launch Statistics","Function Cache Configuration","","CachePreferNone",\n'
    assert profile_of(Export("x.csv", head + row + text_value)).kernels[0].registers_per_thread == 18


def test_sampled_stalls_of_unitrace_are_summed_over_the_instructions_of_a_kernel() -> None:
    # Columns as in github.com/IntelLabs/Xe-Forge, tests/test_profiler.py, read 2026-11-20.
    head = (
        "=== Device #0 Metrics ===\n\n      Kernel, IP[Address], Active[Events], SbidStall[Events], SyncStall[Events]\n"
    )
    rows = '    "k",   c0,   2,   5,   0\n    "k",   80,   10,   1,   2\n'
    profile = profile_of(Export("x", head + rows))
    assert profile.tool is ProfileTool.UNITRACE
    assert profile.kernels[0].stalls == (Stall(reason="sbid", share=0.3), Stall(reason="barrier", share=0.1))
    timed = profile_of(
        Export("x", sample("unitrace_quoted.txt").text + "\n" + head + rows.replace('"k"', '"gemm_kernel"'))
    )
    assert [stall.reason for stall in kernel(timed, "gemm_kernel").stalls] == ["sbid", "barrier"]
    assert [stall.reason for stall in kernel(timed, "row_softmax").stalls] == ["stalled"]


def test_operators_of_a_trace_without_a_device_have_their_own_time_only() -> None:
    event = {"ph": "X", "cat": "cpu_op", "pid": 1, "tid": 1}
    events = [
        {**event, "name": "aten::linear", "ts": 0.0, "dur": 10.0},
        {**event, "name": "aten::addmm", "ts": 1.0, "dur": 8.0},
        {**event, "name": "aten::relu", "ts": 10.0, "dur": 3.0},
        {**event, "name": "aten::linear", "ts": 0.5, "dur": 4.0, "tid": 2},
    ]
    profile = profile_of(Export("t.json", json.dumps({"traceEvents": events})))
    assert profile.device is DeviceKind.CPU
    assert {kernel.name: kernel.time_us for kernel in profile.kernels} == {
        "aten::addmm": 8.0,
        "aten::linear": 6.0,
        "aten::relu": 3.0,
    }
    assert profile.host_gaps is None


# What is broken


def profile_or_error(export: Export, tool: ProfileTool) -> Profile | str:
    """The profile, or what the user is told."""
    try:
        return profile_of(export, tool)
    except UsageError as error:
        return str(error)


@pytest.mark.parametrize(
    ("name", "old", "new", "place", "told"),
    [
        ("nsight_raw.csv", '"12.60"', '"12.6 ms"', "nsight_raw.csv:7", "'12.6 ms' is not a number"),
        ("nsight_raw.csv", '"Mbyte"', '"furlong"', "nsight_raw.csv:6", "unit 'furlong'"),
        ("nsight_raw.csv", '"12.60"', '"12.60","1"', "nsight_raw.csv:7", "damaged"),
        ("nsight_details.csv", '"35.26"', '"35.26', "nsight_details.csv:", "cut off"),
        ("unitrace_quoted.txt", "480000,", "48x000,", "unitrace_quoted.txt:11", "48x000"),
        ("unitrace_plain.txt", ",89.2538,0,", "", "unitrace_plain.txt:26", "damaged or cut off"),
        ("vtune_hotspots.tsv", "\t120.5\t", "\t", "vtune_hotspots.tsv:3", "-csv-delimiter tab"),
        ("vtune_hotspots.tsv", "0.0400", "fast", "vtune_hotspots.tsv:3", "Total Time"),
        ("torch_cuda_trace.json", '"dur": 12.0,', '"dur": 12.0', "torch_cuda_trace.json:", "not JSON"),
        ("torch_cuda_trace.json", '"dur": 12.0,', '"dur": -1,', "torch_cuda_trace.json", "traceEvents[3]"),
    ],
)
def test_error_says_where_and_what(name: str, old: str, new: str, place: str, told: str) -> None:
    text = sample(name).text
    assert old in text
    with pytest.raises(UsageError) as caught:
        profile_of(Export(name, text.replace(old, new)), FILES[name])
    assert str(caught.value).startswith(place)
    assert told in str(caught.value)


def test_report_without_a_kernel_says_what_to_change() -> None:
    head = sample("nsight_raw.csv").text.splitlines()[3]
    with pytest.raises(UsageError, match="--kernel-name"):
        profile_of(Export("x", head))
    with pytest.raises(UsageError, match=r"current_stream\(\)\.synchronize"):
        profile_of(Export("x", "=== Device Timing Summary ===\n\n   Total Execution Time (ns):   1008344251\n"))
    with pytest.raises(UsageError, match="gpu-hotspots"):
        profile_of(Export("x", "Computing Task\tComputing Task:Total Time\n[Outside any task]\t0.9\n"))


def test_file_that_is_no_export_is_refused_with_the_tools_there_are(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("it was slow")
    with pytest.raises(UsageError, match="nsight-compute, torch-profiler, unitrace, vtune"):
        read_profile(tmp_path / "notes.txt")
    (tmp_path / "report.ncu-rep").write_bytes(b"NVR\x00\xff\x81\x00")
    with pytest.raises(UsageError, match="not the tool's own report file"):
        read_profile(tmp_path / "report.ncu-rep")
    (tmp_path / "trace.json.gz").write_bytes(gzip.compress(b"{}")[:-4])
    with pytest.raises(UsageError, match="ends early"):
        read_profile(tmp_path / "trace.json.gz")
    with pytest.raises(UsageError, match="No such file"):
        read_profile(tmp_path / "absent.csv")


@pytest.mark.parametrize("name", FILES)
@given(data=st.data())
def test_damaged_export_is_a_profile_or_a_clear_error(name: str, data: st.DataObject) -> None:
    text = sample(name).text
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 200)))
    inserted = data.draw(st.text(max_size=20) | st.sampled_from(['"', "\n", ",", "\x00", "1e999", "-5", "NaN", "{"]))
    found = profile_or_error(Export(name, text[:start] + inserted + text[end:]), FILES[name])
    if isinstance(found, Profile):
        assert Profile.model_validate_json(found.model_dump_json()) == found
    else:
        assert found.startswith(name)


@pytest.mark.parametrize("tool", READERS)
@given(text=st.text())
@example(text='"Kernel Name"\n"Kernel Name"')
@example(text="[[]]")
@example(text="[" * 100_000)
def test_any_text_is_a_profile_or_a_clear_error(tool: ProfileTool, text: str) -> None:
    found = profile_or_error(Export("x", text), tool)
    assert found.tool is tool if isinstance(found, Profile) else found.startswith("x")


# Numbers and units


@given(value=st.floats(0, 1e15), decimals=st.integers(0, 6))
def test_number_is_read_as_it_is_printed(value: float, decimals: int) -> None:
    printed = f"{value:,.{decimals}f}"
    assert number(printed) == float(printed.replace(",", ""))


@pytest.mark.parametrize("cell", ["", "n/a", "N/A", "nan", "(!) nan", "unknown", "-"])
def test_what_a_tool_has_no_value_for_is_none(cell: str) -> None:
    assert number(cell) is None


def test_number_beyond_all_measure_is_refused_and_one_below_is_0() -> None:
    with pytest.raises(ValueError, match="more than anything"):
        number("1e31")
    assert number("1e-31") == 0.0


@pytest.mark.parametrize("cell", ["1,2", "12,34,567", "0x10", "1.2.3", ".", "e5", "1 2", "١"])
def test_what_is_no_number_is_refused(cell: str) -> None:
    with pytest.raises(ValueError, match="is not a number"):
        number(cell)


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("Kbyte/block", 1e3),
        ("Gbyte/second", 1e9),
        ("Tbyte/s", 1e12),
        ("byte/nsecond", 1e9),
        ("GBps", 1e9),
        ("%", 0.01),
        ("usecond", 1e-6),
        ("register/thread", 1.0),
        ("", 1.0),
    ],
)
def test_unit_is_brought_to_base_units(unit: str, expected: float) -> None:
    assert factor(unit) == pytest.approx(expected)
