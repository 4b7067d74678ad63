"""`r1.engine.devices`: llama.cpp's devices, and which of them the options select."""

from __future__ import annotations

import socket
import threading

import pytest

from r1.engine import devices as module
from r1.engine.devices import Device, connect, devices, handles, select_devices
from r1_quantize.errors import NetworkError, R1Error, UsageError

GB = 1_000_000_000
CPU = Device("CPU", "cpu", "A processor", "CPU", 16 * GB, 16 * GB)
CARD = Device("CUDA0", "gpu", "A card", "CUDA", 5 * GB, 6 * GB, "0000:01:00.0")
SAME_CARD = Device("Vulkan0", "gpu", "A card", "Vulkan", 5 * GB, 6 * GB, "0000:01:00.0")
INSIDE = Device("Vulkan1", "igpu", "Graphics", "Vulkan", 8 * GB, 8 * GB, "0000:00:02.0")
SERVER = Device("RPC0", "gpu", "10.0.0.2:50052", "RPC", 20 * GB, 24 * GB)
BLAS = Device("BLAS", "accelerator", "Accelerate", "BLAS")


def has_rpc() -> bool:
    """Whether this build of llama.cpp has RPC."""
    try:
        module.function("ggml_backend_rpc_add_server", [], None)
    except R1Error:
        return False
    return True


class TestDevices:
    """ggml's own list."""

    def test_has_the_cpu_with_its_memory(self) -> None:
        import psutil

        (cpu,) = (device for device in devices() if device.kind == "cpu")
        assert (cpu.name, cpu.backend) == ("CPU", "CPU")
        assert cpu.total == psutil.virtual_memory().total
        assert cpu.description

    def test_their_handles_end_with_a_null(self) -> None:
        assert list(handles(())) == [None]
        cpu, end = handles(["CPU"])
        assert cpu
        assert end is None


class TestSelectDevices:
    """`--device` and `--gpu-layers` → the devices beside the CPU."""

    def test_auto_takes_the_card_and_not_the_gpu_inside_the_processor(self) -> None:
        assert select_devices("auto", None, [CPU, INSIDE, CARD]) == (CARD,)

    def test_a_card_seen_by_two_backends_is_taken_once(self) -> None:
        assert select_devices("auto", None, [CPU, CARD, SAME_CARD]) == (CARD,)

    def test_two_cards_are_both_taken(self) -> None:
        other = CARD._replace(name="CUDA1", id="0000:02:00.0")
        assert select_devices("auto", None, [CPU, CARD, other]) == (CARD, other)
        unknown = [CARD._replace(id=None), other._replace(id=None)]
        assert select_devices("auto", None, unknown) == tuple(unknown)

    def test_without_a_card_the_gpu_inside_the_processor_is_taken(self) -> None:
        twice = INSIDE._replace(name="SYCL0", backend="SYCL", id=None)
        assert select_devices("auto", None, [CPU, BLAS, INSIDE, twice]) == (INSIDE,)

    def test_without_a_gpu_auto_takes_the_cpu(self) -> None:
        assert select_devices("auto", None, [CPU, BLAS]) == ()

    def test_cpu_takes_no_gpu(self) -> None:
        assert select_devices("cpu", None, [CPU, CARD]) == ()
        assert select_devices("cpu", 0, [CPU, CARD]) == ()

    def test_zero_layers_on_the_gpu_mean_no_gpu(self) -> None:
        assert select_devices("auto", 0, [CPU, CARD]) == ()

    def test_cpu_and_layers_on_the_gpu_contradict_each_other(self) -> None:
        with pytest.raises(UsageError, match="--gpu-layers 99 and --device cpu"):
            select_devices("cpu", 99, [CPU, CARD])

    @pytest.mark.parametrize(("choice", "layers"), [("gpu", None), ("auto", 5)])
    def test_a_missing_gpu_is_refused_with_the_remedy(self, choice: str, layers: int | None) -> None:
        with pytest.raises(UsageError, match=r"--device cpu, or reinstall.*r1 doctor"):
            select_devices(choice, layers, [CPU])

    def test_names_are_not_case_sensitive(self) -> None:
        assert select_devices("vulkan1", None, [CPU, CARD, INSIDE]) == (INSIDE,)
        assert select_devices("CUDA0, Vulkan1", None, [CPU, CARD, INSIDE]) == (CARD, INSIDE)
        assert select_devices("CPU", None, [CPU, CARD]) == ()

    def test_the_name_of_a_backend_selects_all_of_its_gpus(self) -> None:
        first, second = Device("CUDA0", "gpu", backend="CUDA"), Device("CUDA1", "gpu", backend="CUDA")
        apple = Device("MTL0", "gpu", backend="MTL")
        assert select_devices("Cuda", None, [CPU, first, second, apple]) == (first, second)
        assert select_devices("metal", None, [CPU, first, second, apple]) == (apple,)
        assert select_devices("CUDA1,CUDA", None, [CPU, first, second]) == (second, first)

    def test_an_unknown_name_is_refused_with_the_known_ones(self) -> None:
        with pytest.raises(UsageError, match=r"no device 'tpu' .*; use CPU, CUDA0, or auto, cpu, gpu"):
            select_devices("tpu", None, [CPU, CARD])

    @pytest.mark.parametrize("choice", [",", " , "])
    def test_a_list_without_a_name_is_refused(self, choice: str) -> None:
        with pytest.raises(UsageError, match="use CPU"):
            select_devices(choice, None, [CPU])

    def test_a_device_named_twice_is_taken_once(self) -> None:
        assert select_devices("CUDA0,cuda0", None, [CPU, CARD]) == (CARD,)

    def test_naming_a_server_leaves_out_the_others(self) -> None:
        other = SERVER._replace(name="RPC1")
        assert select_devices("RPC1", None, [CPU, SERVER, other]) == (other,)

    def test_servers_and_zero_layers_contradict_each_other(self) -> None:
        with pytest.raises(UsageError, match="--rpc and --gpu-layers 0"):
            select_devices("auto", 0, [CPU, SERVER])

    @pytest.mark.parametrize("choice", ["auto", "gpu", "cpu", "CUDA0"])
    def test_servers_come_before_other_devices(self, choice: str) -> None:
        first, *rest = select_devices(choice, None, [CPU, CARD, SERVER])
        assert first == SERVER
        assert rest == ([] if choice == "cpu" else [CARD])


class TestSharedMemory:
    """Which GPUs use main memory."""

    def test_a_gpu_inside_the_processor_does(self) -> None:
        assert INSIDE.shares_memory
        assert not CARD.shares_memory

    @pytest.mark.parametrize(("processor", "shares"), [("arm64", True), ("x86_64", False)])
    def test_apple_silicon_does(self, processor: str, shares: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("platform.machine", lambda: processor)
        assert Device("MTL0", "gpu", "Apple M3", "MTL").shares_memory is shares


class TestConnect:
    """`--rpc`."""

    @pytest.mark.skipif(has_rpc(), reason="this build of llama.cpp has RPC")
    def test_a_build_without_rpc_names_the_command_that_adds_it(self) -> None:
        with pytest.raises(UsageError, match=r'CMAKE_ARGS="-DGGML_RPC=on" pip install'):
            connect("127.0.0.1:50052")

    @pytest.mark.parametrize("server", ["here", ":5", "host:", "host:99999", "host:x", ",", "  "])
    def test_an_invalid_address_is_refused(self, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "function", lambda *_: lambda *_: None)
        with pytest.raises(UsageError, match=r"is not HOST:PORT"):
            connect(server)

    def test_no_answer_is_a_network_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "function", lambda *_: lambda *_: None)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        with pytest.raises(NetworkError, match=rf"127.0.0.1:{port} does not answer .*rpc-server running"):
            connect(f"127.0.0.1:{port}")

    @pytest.mark.parametrize("name", ["a..b", "x" * 70])
    def test_an_invalid_host_name_does_not_answer(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "function", lambda *_: lambda *_: None)
        with pytest.raises(NetworkError, match="does not answer"):
            connect(f"{name}:1")

    def test_a_server_of_another_kind_is_recognised_by_its_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "function", lambda *_: lambda *_: None)
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]

            def answer() -> None:
                connection, _ = server.accept()
                with connection:
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

            thread = threading.Thread(target=answer)
            thread.start()
            with pytest.raises(NetworkError, match=r"is not llama\.cpp's rpc-server"):
                connect(f"127.0.0.1:{port}")
            thread.join()
