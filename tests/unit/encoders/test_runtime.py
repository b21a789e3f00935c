import numpy as np
import onnxruntime
import pytest

from encoders.errors import EncoderError
from encoders.onnx_builder import FLOAT, GraphWriter
from encoders.runtime import CPU, CUDA, Runtime, probe_model


def doubler() -> bytes:
    g = GraphWriter()
    g.constant("two", 2.0)
    g.node("Mul", ["x", "two"], "half_done")
    g.node("Add", ["half_done", "y"], "z")
    ports = {"x": (FLOAT, ("n",)), "y": (FLOAT, ("n",))}
    return bytes(g.model("doubler", ports, {"z": (FLOAT, ("n",)), "half_done": (FLOAT, ("n",))}).SerializeToString())


def test_what_runs_is_what_was_found_to_run_and_the_reason_says_why() -> None:
    found = Runtime("auto")
    assert found.provider in (CPU, CUDA)
    assert bool(found.reason) == (found.provider == CPU)
    assert Runtime("cpu").provider == CPU


def test_cuda_that_is_not_to_be_had_is_one_sentence_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    with pytest.raises(EncoderError, match=r"no CUDA support.*pip install 'prefstream\[cuda\]'"):
        Runtime("cuda")
    assert Runtime("auto").provider == CPU


def test_a_provider_that_is_listed_but_does_not_load_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    class WithoutCuda(onnxruntime.InferenceSession):  # type: ignore[misc]
        def get_providers(self) -> list[str]:
            return [CPU]

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", WithoutCuda)
    assert Runtime("auto").provider == CPU
    with pytest.raises(EncoderError, match="its CUDA provider did not load"):
        Runtime("cuda")


def test_nothing_is_printed_when_cuda_libraries_are_missing(capfd: pytest.CaptureFixture[str]) -> None:
    Runtime("auto").session(doubler())
    assert capfd.readouterr() == ("", "")


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(EncoderError, match="'tpu' is unknown: use auto, cpu or cuda"):
        Runtime("tpu")  # type: ignore[arg-type]


def test_bound_runs_equal_plain_runs(runtime: Runtime) -> None:
    session = runtime.session(doubler())
    x, y = np.arange(5, dtype=np.float32), np.full(5, 7, np.float32)
    assert session.inputs == ("x", "y")
    plain = session.run(["z", "half_done"], {"x": x, "y": y})
    bound = session.run(["z", "half_done"], {"x": runtime.put(x), "y": y})
    for one, other, expected in zip(plain, bound, (2 * x + 7, 2 * x), strict=True):
        np.testing.assert_array_equal(one, expected)
        np.testing.assert_array_equal(other, expected)


def test_a_model_that_does_not_load_is_one_sentence(runtime: Runtime) -> None:
    with pytest.raises(EncoderError, match="can't load the ranking graph"):
        runtime.session(b"nonsense")


def test_the_probe_is_a_sound_model(runtime: Runtime) -> None:
    session = runtime.session(probe_model())
    np.testing.assert_array_equal(session.run(["y"], {"x": np.array([-3.0], np.float32)})[0], [3.0])
