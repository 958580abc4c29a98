"""Speed of the runtime: settings, startup, C++."""
