"""The actions of `ddr client`: one coroutine each, and how they show progress."""
