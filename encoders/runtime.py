"""Sessions of ONNX Runtime; tells which provider really runs. Only this module imports it to run graphs."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnx import TensorProto, helper

from encoders.errors import EncoderError
from encoders.onnx_builder import IR_VERSION, OPSET, value

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
Device = Literal["auto", "cpu", "cuda"]
Array = npt.NDArray[Any]

_FATAL = 4  # log severity: only messages about the end of the process
_ERROR = 3
# full float32: with TF32, CUDA's default, scores differ in the third digit, so the top-k differs too
_CUDA_OPTIONS = {"use_tf32": "0"}


class Session:
    """A loaded graph."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self.inputs: tuple[str, ...] = tuple(item.name for item in session.get_inputs())
        self.outputs: tuple[str, ...] = tuple(item.name for item in session.get_outputs())

    def run(self, outputs: Sequence[str], feeds: Mapping[str, "Array | DeviceArray"]) -> list[Array]:
        """Run the graph; returns its outputs as arrays.

        A feed may be a ``DeviceArray``. Only the other feeds and the outputs are then copied to or from the device.
        """
        # contiguous arrays are passed without a copy
        if not any(isinstance(feed, DeviceArray) for feed in feeds.values()):
            return list(self._session.run(list(outputs), dict(feeds)))
        binding = self._session.io_binding()
        for name, feed in feeds.items():
            if isinstance(feed, DeviceArray):
                binding.bind_ortvalue_input(name, feed.value)
            else:
                binding.bind_cpu_input(name, np.ascontiguousarray(feed))
        for name in outputs:
            binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(binding)
        return list(binding.copy_outputs_to_cpu())

    def run_in_chunks(
        self,
        outputs: Sequence[str],
        feeds: Mapping[str, Array],
        shared: Mapping[str, "Array | DeviceArray"],
        chunk: int,
    ) -> dict[str, Array]:
        """Run the graph for all rows of ``feeds``, at most ``chunk`` rows in a run; returns its outputs by name.

        Every run also gets all of ``shared``.
        """
        rows = len(next(iter(feeds.values())))
        runs = [
            self.run(outputs, {**shared, **{name: feed[start : start + chunk] for name, feed in feeds.items()}})
            for start in range(0, max(rows, 1), chunk)
        ]
        return {
            name: run[0] if len(run) == 1 else np.concatenate(run) for name, *run in zip(outputs, *runs, strict=True)
        }


class DeviceArray:
    """An array in the memory of the device that runs the graphs."""

    def __init__(self, value: ort.OrtValue) -> None:
        self.value = value


class Runtime:
    """Sessions on one device.

    Parameters
    ----------
    device : "auto" takes CUDA if it really runs, else the CPU; "cuda" and "cpu" take no other
    threads : threads for the operators of a run; 0 lets ONNX Runtime take one for each core

    Attributes
    ----------
    provider : the provider that runs, "CUDAExecutionProvider" or "CPUExecutionProvider"
    reason : why the provider is not CUDA; empty if it is

    Raises
    ------
    EncoderError
        The device is unknown, or it is "cuda" and CUDA does not run.
    """

    def __init__(self, device: Device = "auto", threads: int = 0) -> None:
        if device not in ("auto", "cpu", "cuda"):
            raise EncoderError(f"The device '{device}' is unknown: use auto, cpu or cuda.")
        self.threads = threads
        self.reason = "device is set to cpu" if device == "cpu" else _why_no_cuda()
        self.provider: str = CPU if self.reason else CUDA
        if device == "cuda" and self.reason:
            raise EncoderError(
                f"The device is set to cuda, but ONNX Runtime can't use it: {self.reason}. Install the CUDA libraries "
                "with `pip install 'prefstream[cuda]'` on a machine with an NVIDIA driver, or set the device to auto "
                "or cpu."
            )

    @property
    def is_cuda(self) -> bool:
        return self.provider == CUDA

    def session(self, model: bytes | str | Path) -> Session:
        """Load a graph from its bytes or its file.

        Raises
        ------
        EncoderError
            ONNX Runtime can't load it.
        """
        options = ort.SessionOptions()
        options.log_severity_level = _ERROR
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        # idle operator threads would spin on cores that decoding and the store's clients need
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers: list[Any] = [(CUDA, _CUDA_OPTIONS), CPU] if self.is_cuda else [CPU]
        source = model if isinstance(model, bytes) else str(model)
        try:
            return Session(ort.InferenceSession(source, options, providers=providers))
        except Exception as error:  # ONNX Runtime has no common base for its errors
            name = "the ranking graph" if isinstance(model, bytes) else f"'{model}'"
            raise EncoderError(f"ONNX Runtime {ort.__version__} can't load {name}: {error}") from error

    def put(self, array: Array) -> DeviceArray:
        """Copy an array to the device."""
        device = "cuda" if self.is_cuda else "cpu"
        return DeviceArray(ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), device, 0))


def _why_no_cuda() -> str:
    """Why CUDA does not run here; empty if it does."""
    # a provider may be listed and still not load, so a small graph is run
    if CUDA not in ort.get_available_providers():
        return f"this build of ONNX Runtime ({ort.__version__}) has no CUDA support"
    printed = io.StringIO()
    ort.set_default_logger_severity(_FATAL)  # missing libraries are a result here, not an error to print
    try:
        if hasattr(ort, "preload_dlls"):
            with contextlib.redirect_stdout(printed):  # finds CUDA libraries that pip installed; it prints errors
                ort.preload_dlls()
        options = ort.SessionOptions()
        options.log_severity_level = _FATAL
        session = ort.InferenceSession(probe_model(), options, providers=[(CUDA, _CUDA_OPTIONS)])
        if CUDA not in session.get_providers():
            return f"its CUDA provider did not load ({_first_line(printed.getvalue()) or 'no CUDA device or library'})"
        session.run(None, {"x": np.ones(1, np.float32)})
    except Exception as error:  # a driver or a library may raise anything
        return f"its CUDA provider failed ({_first_line(str(error))})"
    finally:
        ort.set_default_logger_severity(_ERROR)
    return ""


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0][:200]


def probe_model() -> bytes:
    """Make the small graph that is run to see whether a provider works: y = abs(x)."""
    port = (TensorProto.FLOAT, ["n"])
    graph = helper.make_graph(
        [helper.make_node("Abs", ["x"], ["y"])], "probe", [value("x", *port)], [value("y", *port)]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return bytes(model.SerializeToString())
