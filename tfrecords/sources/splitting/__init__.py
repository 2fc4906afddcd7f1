"""Divides clips into splits so that none holds what another one shows."""
