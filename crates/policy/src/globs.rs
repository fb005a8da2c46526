//! Globs of `[workspace]`: below the manifest's folder, so that reading one tells what it can match.

use globset::GlobBuilder;

/// Whether `glob` is one for paths below a workspace; what is wrong with it otherwise.
pub(crate) fn glob_of_the_workspace(glob: &str) -> Result<(), String> {
    let path = glob.trim_end_matches('/');
    if path.is_empty() || path == "**" || path == "." {
        return Err(format!("`{glob}` is the workspace itself"));
    }
    if path.starts_with('/') || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(format!(
            "`{glob}` has to be a path below the workspace, without `.` and `..`"
        ));
    }
    if path.contains('\0') {
        return Err("a path has no NUL".to_owned());
    }
    GlobBuilder::new(path)
        .literal_separator(true)
        .build()
        .map(drop)
        .map_err(|error| format!("`{glob}` is no glob: {}", error.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_globs_below_the_workspace_count() {
        for glob in ["ops/**", "*.pem", "**/secrets/*.yaml", "infra/", "a b/[cd]"] {
            assert_eq!(glob_of_the_workspace(glob), Ok(()), "{glob}");
        }
        for glob in [
            "", "/etc/**", "../x", "a/../b", "a//b", "./a", "**", "a[", "a\0",
        ] {
            assert!(glob_of_the_workspace(glob).is_err(), "{glob}");
        }
    }
}
