"""What all tests share: where Hypothesis's time limits depend on the machine, there are none."""

from hypothesis import settings

settings.register_profile("autodiff", deadline=None)
settings.load_profile("autodiff")
