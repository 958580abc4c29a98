"""The process around a station: assembling, checking, running, stopping."""
