//! Listeners, TLS and shutdown over loopback sockets.

mod authority;
mod listeners;
mod tls;
