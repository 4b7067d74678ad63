"""A diagnosis → an object for scripts: plain numbers, units in the names.

Knows: the names. Does not know: where the facts come from.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from r1.doctor.diagnosis import Diagnosis
from r1.doctor.warnings import findings
from r1.engine.devices import Device
from r1.fit.choice import Prospect
from r1.machine.disk import Disk
from r1.machine.processor import USEFUL


def doctor_facts(found: Diagnosis) -> dict[str, Any]:
    """All there is to say, for `--json`."""
    return {
        "versions": _versions(found),
        "processor": _processor(found),
        "threads": asdict(found.hardware.threads),
        "memory": _memory(found),
        "devices": [_device(device) for device in found.devices],
        "unused_gpus": [_unused(found, index) for index in range(len(found.unused))],
        "disks": {"home": _disk(found.hardware.home), "hub_cache": _disk(found.hardware.hub_cache)},
        "power": asdict(found.hardware.power) if found.hardware.power else None,
        "terminal": asdict(found.hardware.terminal),
        "models": [_prospect(prospect, found.here) for prospect in found.prospects],
        "recommendation": _recommendation(found),
        "warnings": [asdict(concern) for concern in findings(found)],
    }


def _versions(found: Diagnosis) -> dict[str, Any]:
    build = found.build
    return {
        "r1": found.versions.r1,
        "python": found.versions.python,
        "llama_cpp_python": found.versions.binding or None,
        "llama_cpp_commit": build.commit if build else None,
        "ggml": build.ggml if build else None,
        "installed_by": found.installation.tool,
        "trouble": found.trouble,
    }


def _processor(found: Diagnosis) -> dict[str, Any]:
    processor, build = found.hardware.processor, found.build
    return {
        "name": processor.name or None,
        "architecture": processor.architecture,
        "cores": found.hardware.cores,
        "busy_percent": None if found.hardware.busy is None else round(100 * found.hardware.busy),
        "instructions": [name for name in USEFUL if name in processor.has],
        "instructions_compiled": [name for name in USEFUL if build and name in build.instructions],
        "instructions_missing": found.missing,
        "instructions_impossible": found.impossible,
    }


def _memory(found: Diagnosis) -> dict[str, Any]:
    memory, bandwidth = found.hardware.memory, found.hardware.bandwidth
    return {
        "total_bytes": memory.total,
        "free_bytes": memory.free,
        "limit": memory.limit,
        "swap_used_bytes": found.hardware.swap_used,
        "bandwidth_bytes_per_second": round(bandwidth) if bandwidth else None,
    }


def _device(device: Device) -> dict[str, Any]:
    return {
        "name": device.name,
        "description": device.description,
        "kind": device.kind,
        "backend": device.backend,
        "free_bytes": device.free,
        "total_bytes": device.total,
    }


def _unused(found: Diagnosis, index: int) -> dict[str, Any]:
    unused = found.unused[index]
    return {
        "maker": unused.graphics.maker,
        "name": unused.graphics.name or None,
        "compiled_for": unused.built,
        "install_first": unused.first or None,
        "command": None if unused.built else found.installation.reinstall(unused.flag),
    }


def _disk(disk: Disk | None) -> dict[str, Any] | None:
    if disk is None:
        return None
    return {
        "path": str(disk.path),
        "free_bytes": disk.free,
        "total_bytes": disk.total,
        "nearly_full": disk.is_nearly_full,
    }


def _prospect(prospect: Prospect, here: frozenset[str]) -> dict[str, Any]:
    speed = prospect.tokens_per_second
    return {
        "reference": prospect.reference,
        "name": prospect.name,
        "quant": prospect.quant,
        "here": prospect.reference in here,
        "file_bytes": prospect.size,
        "memory_bytes": {str(tokens): needed for tokens, needed in prospect.needed.items()},
        "context_that_fits": prospect.fits_now,
        "context_that_fits_alone": prospect.fits_alone,
        "tokens_per_second": round(speed, 2) if speed is not None else None,
        "on_gpu": prospect.on_gpu,
    }


def _recommendation(found: Diagnosis) -> dict[str, Any] | None:
    chosen = found.recommendation
    if chosen is None:
        return None
    reference = chosen.prospect.reference
    return {
        "reference": reference,
        "why": chosen.why,
        "here": chosen.here,
        "command": f"r1 chat {chosen.here}" if chosen.here else f"r1 pull {reference}",
        "better_with_more_disk": chosen.better,
    }
