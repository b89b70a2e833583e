// Who may use the project, ours or one that was there before: roles on the project alone, not on its account.
param accountName string
param projectName string
param appPrincipalId string
param appRoleId string

@description('Who makes the agent; empty where it is there already')
param deployerPrincipalId string

var foundryUser = '53ca6127-db72-4b80-b1b0-d745d6d5456d'

resource account 'Microsoft.CognitiveServices/accounts@2026-03-01' existing = {
  name: accountName

  resource project 'projects' existing = {
    name: projectName
  }
}

resource appAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account::project.id, appPrincipalId, appRoleId)
  scope: account::project
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', appRoleId)
  }
}

// Without a principalType: a person on a laptop, a service principal in CI.
resource deployerAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(deployerPrincipalId)) {
  name: guid(account::project.id, deployerPrincipalId, foundryUser)
  scope: account::project
  properties: {
    principalId: deployerPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', foundryUser)
  }
}

var projectEndpoint = account::project.properties.endpoints['AI Foundry API']

output projectEndpoint string = projectEndpoint
output endpoint string = split(projectEndpoint, '/api/projects/')[0]
