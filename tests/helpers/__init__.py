"""What tests share; no test imports another test.

Four toy policies, from the one whose answers are known exactly to the one that whole runs train:

* :class:`helpers.linear_world.Shifted`: linear and Gaussian. Every expectation, gradient and KL has a closed form.
* :class:`helpers.toys.ToyPolicy`: the real steps of a family around a tiny network in float64, for finite differences.
* :class:`helpers.pretrained_toy.TinyLCM`: a pretrained base with an adapter, for laws about learning.
* :class:`helpers.training_world.Paint`: loaded by ``model.kind``, as a user's own, for runs, commands and resuming.
"""
