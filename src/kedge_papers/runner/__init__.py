"""From a target's name to its runs: experiment sets, options, costs."""
