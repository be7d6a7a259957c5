//! The path at which a router found the endpoint.

/// The path at which a router found the endpoint: the full path of a request without the `rest` that the router left
/// of it. The router may have percent-decoded `rest`.
///
/// ```
/// assert_eq!(tus_service::mount_path("/api/files/%61", "/a"), "/api/files");
/// assert_eq!(tus_service::mount_path("/api/files", "/"), "/api/files");
/// ```
pub fn mount_path<'a>(full: &'a str, rest: &str) -> &'a str {
    let rest = rest.strip_prefix('/').unwrap_or(rest);
    if rest.is_empty() {
        return full.strip_suffix('/').unwrap_or(full);
    }
    let mut slashes = full.rmatch_indices('/');
    slashes.nth(rest.matches('/').count()).map_or(full, |(at, _)| &full[..at])
}
