"""Backbone to head to loss, for AACF and for every baseline."""
