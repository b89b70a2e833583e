// Container Apps' own sign-in ("Easy Auth") in front of the app. Callers get 401, not a page to sign in: this is an API.
param appName string
param enabled bool

@description('The app registration; needed if enabled')
param clientId string = ''

resource app 'Microsoft.App/containerApps@2025-07-01' existing = {
  name: appName
}

resource signIn 'Microsoft.App/containerApps/authConfigs@2025-07-01' = {
  parent: app
  name: 'current'
  properties: {
    platform: { enabled: enabled }
    globalValidation: {
      unauthenticatedClientAction: enabled ? 'Return401' : 'AllowAnonymous'
      excludedPaths: ['/health', '/api/health']
    }
    httpSettings: { requireHttps: true }
    identityProviders: enabled
      ? {
          azureActiveDirectory: {
            enabled: true
            registration: {
              clientId: clientId
              openIdIssuer: '${az.environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
            }
            validation: {
              allowedAudiences: [clientId, 'api://${clientId}']
            }
          }
        }
      : {}
  }
}
