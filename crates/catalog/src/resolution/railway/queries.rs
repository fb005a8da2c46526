//! What Railway is asked. Read-only, ids as variables alone, every list in pages of a hundred.

pub(super) const PROJECTS: &str = "query($after:String){projects(first:100,after:$after){edges{node{id name}}\
    pageInfo{hasNextPage endCursor}}}";
pub(super) const PROJECTS_OF_WORKSPACE: &str = "query($id:String,$after:String){projects(workspaceId:$id,\
    first:100,after:$after){edges{node{id name}}pageInfo{hasNextPage endCursor}}}";
pub(super) const ENVIRONMENT: &str = "query($id:String!){environment(id:$id){id name projectId}}";
pub(super) const SOURCE: &str = "query($id:String!){environment(id:$id){id sourceEnvironment{id}}}";
pub(super) const ENVIRONMENTS: &str = "query($id:String!,$after:String){project(id:$id){id name \
    environments(first:100,after:$after){edges{node{id name projectId}}\
    pageInfo{hasNextPage endCursor}}}}";
pub(super) const SERVICE: &str = "query($id:String!,$after:String){service(id:$id){id name projectId \
    serviceInstances(first:100,after:$after){edges{node{id environmentId}}\
    pageInfo{hasNextPage endCursor}}}}";
pub(super) const SERVICES: &str = "query($id:String!,$after:String){project(id:$id){id \
    services(first:100,after:$after){edges{node{id name}}pageInfo{hasNextPage endCursor}}}}";
pub(super) const VOLUMES: &str = "query($id:String!,$after:String){project(id:$id){id \
    volumes(first:100,after:$after){edges{node{id name projectId volumeInstances(first:100){\
    edges{node{id volumeId environmentId serviceId mountPath sizeMB currentSizeMB state \
    environment{id name projectId}}}pageInfo{hasNextPage endCursor}}}}\
    pageInfo{hasNextPage endCursor}}}}";
pub(super) const VOLUME_INSTANCES: &str = "query($id:String!,$after:String){environment(id:$id){id \
    volumeInstances(first:100,after:$after){edges{node{id volumeId environmentId serviceId mountPath \
    sizeMB currentSizeMB state volume{id name}}}pageInfo{hasNextPage endCursor}}}}";
pub(super) const VOLUME_INSTANCE: &str = "query($id:String!){volumeInstance(id:$id){id volumeId environmentId \
    serviceId mountPath sizeMB currentSizeMB state volume{id name}}}";
pub(super) const BACKUPS: &str = "query($id:String!){volumeInstanceBackupList(volumeInstanceId:$id){\
    id name createdAt}}";
pub(super) const DEPLOYMENT: &str =
    "query($id:String!){deployment(id:$id){id environmentId projectId}}";
pub(super) const CUSTOM_DOMAIN: &str = "query($id:String!,$project:String!){customDomain(id:$id,\
    projectId:$project){id domain environmentId}}";
pub(super) const BUCKETS: &str = "query($id:String!,$after:String){project(id:$id){id \
    buckets(first:100,after:$after){edges{node{id name}}pageInfo{hasNextPage endCursor}}}}";
pub(super) const SANDBOX: &str = "query($environment:String!,$id:String!){sandbox(environmentId:$environment,\
    id:$id){id environmentId}}";

/// Every query, for the tests that read them against the schema.
#[cfg(test)]
pub(in crate::resolution) const ALL: [&str; 15] = [
    PROJECTS,
    PROJECTS_OF_WORKSPACE,
    ENVIRONMENT,
    SOURCE,
    ENVIRONMENTS,
    SERVICE,
    SERVICES,
    VOLUMES,
    VOLUME_INSTANCES,
    VOLUME_INSTANCE,
    BACKUPS,
    DEPLOYMENT,
    CUSTOM_DOMAIN,
    BUCKETS,
    SANDBOX,
];
