//! Hostname: a visitor's name, parsed and normalised once, the same for SNI and for Host.
