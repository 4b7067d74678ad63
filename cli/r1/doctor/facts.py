"""A diagnosis → an object for scripts: plain numbers, with the units in the keys."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from r1.doctor.diagnosis import Diagnosis
from r1.doctor.warnings import findings
from r1.engine.devices import Device
from r1.fit.recommendation import Prospect
from r1.fit.votes import VotesInstead
from r1.machine.disk import Disk
from r1.machine.processor import USEFUL


def doctor_facts(diagnosis: Diagnosis) -> dict[str, Any]:
    """The complete diagnosis, for `--json`."""
    hardware = diagnosis.hardware
    return {
        "versions": _versions(diagnosis),
        "processor": _processor(diagnosis),
        "threads": asdict(hardware.threads),
        "memory": _memory(diagnosis),
        "devices": [_device(device) for device in diagnosis.devices],
        "unused_gpus": [_unused(diagnosis, index) for index in range(len(diagnosis.unused))],
        "disks": {"home": _disk(hardware.home), "hub_cache": _disk(hardware.hub_cache)},
        "power": asdict(hardware.power) if hardware.power else None,
        "terminal": asdict(hardware.terminal),
        "models": [_prospect(prospect, diagnosis.stored) for prospect in diagnosis.prospects],
        "recommendation": _recommendation(diagnosis),
        "votes": _votes(diagnosis.votes),
        "warnings": [asdict(finding) for finding in findings(diagnosis)],
    }


def _versions(diagnosis: Diagnosis) -> dict[str, Any]:
    build = diagnosis.build
    return {
        "r1": diagnosis.versions.r1,
        "python": diagnosis.versions.python,
        "llama_cpp_python": diagnosis.versions.binding or None,
        "llama_cpp_commit": build.commit if build else None,
        "ggml": build.ggml if build else None,
        "installed_by": diagnosis.installation.tool,
        "trouble": diagnosis.llama_cpp_error,
    }


def _processor(diagnosis: Diagnosis) -> dict[str, Any]:
    hardware, build = diagnosis.hardware, diagnosis.build
    return {
        "name": hardware.processor.name or None,
        "architecture": hardware.processor.architecture,
        "cores": hardware.cores,
        "busy_percent": None if hardware.busy is None else round(100 * hardware.busy),
        "instructions": [name for name in USEFUL if name in hardware.processor.has],
        "instructions_compiled": [name for name in USEFUL if build and name in build.instructions],
        "instructions_missing": diagnosis.missing_instructions,
        "instructions_impossible": diagnosis.unsupported_instructions,
    }


def _memory(diagnosis: Diagnosis) -> dict[str, Any]:
    memory, bandwidth = diagnosis.hardware.memory, diagnosis.hardware.bandwidth
    return {
        "total_bytes": memory.total,
        "free_bytes": memory.free,
        "limit": memory.limit,
        "swap_used_bytes": diagnosis.hardware.swap_used,
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


def _unused(diagnosis: Diagnosis, index: int) -> dict[str, Any]:
    unused = diagnosis.unused[index]
    return {
        "maker": unused.graphics.maker,
        "name": unused.graphics.name or None,
        "compiled_for": unused.built,
        "install_first": unused.first or None,
        "command": None if unused.built else diagnosis.installation.reinstall(unused.flag),
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


def _prospect(prospect: Prospect, stored: frozenset[str]) -> dict[str, Any]:
    speed = prospect.tokens_per_second
    return {
        "reference": prospect.reference,
        "name": prospect.name,
        "quant": prospect.quant,
        "here": prospect.reference in stored,
        "file_bytes": prospect.size,
        "memory_bytes": {str(tokens): needed for tokens, needed in prospect.needed.items()},
        "context_that_fits": prospect.fits_now,
        "context_that_fits_alone": prospect.fits_alone,
        "tokens_per_second": round(speed, 2) if speed is not None else None,
        "on_gpu": prospect.on_gpu,
        "aime_pass1": prospect.score or None,
        "aime_cons64": prospect.voted_score or None,
    }


def _recommendation(diagnosis: Diagnosis) -> dict[str, Any] | None:
    chosen = diagnosis.recommendation
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


def _votes(instead: VotesInstead | None) -> dict[str, Any] | None:
    if instead is None:
        return None
    smaller, larger = instead.smaller, instead.larger
    return {
        "reference": smaller.reference,
        "votes": instead.votes,
        "instead_of": larger.reference,
        "estimated_time_ratio": round(instead.time_share, 2),
        "aime_pass1": smaller.score,
        "aime_cons64": smaller.voted_score,
        "aime_pass1_instead_of": larger.score,
        "command": f"r1 run -m {smaller.reference} --votes {instead.votes}",
    }
