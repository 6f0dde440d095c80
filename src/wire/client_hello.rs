//! The TLS ClientHello: any split over segments and records gives the name and the ALPN list.
