def profile() -> None: pass
