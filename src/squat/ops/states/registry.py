"""Every neuron of several states by the class of its options. A new one is added here and inherits the loops."""

from __future__ import annotations

from squat.ops.states import alif, alpha, cuba, lif
from squat.ops.states.equations import Equations

EQUATIONS: dict[type, Equations] = {
    equations.options: equations for equations in (cuba.EQUATIONS, alpha.EQUATIONS, alif.EQUATIONS, lif.EQUATIONS)
}
