//! The service's life under a service manager: it tells how it is, and can be restarted and replaced
//! while calls go on.

mod manager;
mod load;
mod notify;
mod restart;
mod upgrade;
mod webhooks;
