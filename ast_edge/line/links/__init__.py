"""Connections to the outside: GPIO, Modbus, MQTT, OPC UA, HTTP, TLS."""
