"""Connections: GPIO, Modbus, S7, EtherNet/IP, MQTT, OPC UA, HTTP, TLS."""
