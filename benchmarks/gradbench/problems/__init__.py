"""What the evaluations are: functions written with an array module, inputs, outputs as JSON."""
