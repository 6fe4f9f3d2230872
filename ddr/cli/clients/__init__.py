"""What `ddr client` does: one coroutine per action, and how it shows that it goes on."""
