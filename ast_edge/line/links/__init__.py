"""Connections: GPIO, Modbus, MQTT, OPC UA, HTTP, TLS."""
