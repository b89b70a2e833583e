// The app before its first sign-in is configured: nobody outside the environment reaches it, and it has no settings, so
// that it could answer nobody. chat-api.bicep replaces it in the same deployment.
param appName string
param location string
param environmentId string
param identityId string
param image string
param port int
param registries array
param probes array

resource app 'Microsoft.App/containerApps@2025-07-01' = {
  name: appName
  location: location
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identityId}': {} }
  }
  properties: {
    environmentId: environmentId
    workloadProfileName: 'Consumption'
    configuration: {
      activeRevisionsMode: 'Single'
      ingress: {
        external: false
        targetPort: port
        allowInsecure: false
      }
      registries: registries
    }
    template: {
      containers: [
        {
          name: 'chat-api'
          image: image
          probes: probes
        }
      ]
      scale: {
        minReplicas: 0
        maxReplicas: 1
      }
    }
  }
}
