"""Compiles the forward kernels without a GPU and prints how many fused multiply-adds they hold; see `test_gpu.py`."""

from __future__ import annotations

import json
import re

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from squat.ops.lif import gpu_forward
from squat.ops.lif.gpu import EXACT

FLOATS = ["x", "reset", "limit", "beta", "theta", "levels", "out", "rec_scale"]
BY_RULE = {  # tables, state, weights
    "integer": ("*i32", "*u8", "*i8"),
    "float": ("*fp32", "*u8", "*fp32"),
    "membrane": ("*fp32", "*fp32", "*fp32"),
}


def fused_in(kernel: triton.JITFunction, rule: str, **options: object) -> int:
    """Fused multiply-adds in the PTX of a kernel."""
    table, state, weight = BY_RULE[rule]
    codes = rule != "membrane"
    constants = {"RULE": rule, "RESET": "subtract", "DROP": False, "SPIKING": True, "BITS": 4 if codes else 0}
    constants |= {"PACK": codes, "KEEP": codes, "WIDE": True, "ROWS": 16, "COLUMNS": 16, "DEPTH": 32}
    types = dict.fromkeys(FLOATS, "*fp32") | dict.fromkeys(("table", "bound", "ends", "membrane"), table)
    types |= {"start": state, "state": state, "inside": "*u8", "bias": "*i32", "wrong": "*i32"}
    types |= {"w_rec": weight, "w_high": weight} | dict.fromkeys(constants, "constexpr")
    names = kernel.arg_names
    source = ASTSource(
        fn=kernel,
        signature={name: types.get(name, "i32") for name in names},
        constexprs={(names.index(name),): value for name, value in constants.items() if name in names},
    )
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=EXACT | options)
    return len(re.findall(r"\bfma\.", compiled.asm["ptx"]))


def main() -> None:
    """One line of JSON: by rule, the count over both kernels as launched, and with fusion allowed."""
    kernels = (gpu_forward.forward, gpu_forward.forward_recurrent)
    found = {
        rule: {
            "as launched": sum(fused_in(kernel, rule) for kernel in kernels),
            "fused": sum(fused_in(kernel, rule, enable_fp_fusion=True) for kernel in kernels),
        }
        for rule in BY_RULE
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
