// What `azd provision` makes: everything but the app itself. The app comes with its image, from chat-api.bicep, when
// `azd deploy` has pushed it (docs/decisions/0010-app-after-image.md): so every role here is older than its first revision.
targetScope = 'subscription'

@minLength(1)
@maxLength(64)
@description('The azd environment: names the resource group')
param environmentName string

@minLength(1)
@description('Region of everything but the model')
param location string

@description('Region of Foundry and the model; empty: the same')
param aiLocation string = ''

@description('A Foundry project of your own (resource id): then nothing of Foundry is made')
param existingProjectId string = ''

@description('A plain Azure OpenAI endpoint: then nothing of Foundry is made')
param openAiEndpoint string = ''

@description('The agent that answers: a name (the newest version), name:version, or a classic asst_… of your own project')
param agentName string = 'chat-agent'

@description('What the app may do in the project: Foundry User. Foundry Agent Consumer would be less, and not enough for conversations')
param agentRoleId string = '53ca6127-db72-4b80-b1b0-d745d6d5456d'

param modelName string = 'gpt-5.4-mini'
param modelVersion string = '2026-03-17'
param modelSku string = 'GlobalStandard'

@minValue(1)
@description('Thousands of tokens a minute')
param modelCapacity int = 30

@minValue(30)
param logRetentionDays int = 30

@description('Who gets mail when something is wrong; empty: no alerts')
param alertEmail string = ''

@minValue(0)
@description('USD a month for the resource group, with mail at 80 % and before it is passed; 0: none')
param monthlyBudget int = 0

@description('Where the budget begins to count: a first day of a month')
param budgetStart string = utcNow('yyyy-MM-01')

var suffix = uniqueString(subscription().id, environmentName, location)
var tags = { 'azd-env-name': environmentName }
var ownProject = !empty(existingProjectId)
var makesFoundry = !ownProject && empty(openAiEndpoint)
var hasProject = ownProject || makesFoundry

// /subscriptions/<2>/resourceGroups/<4>/providers/Microsoft.CognitiveServices/accounts/<8>/projects/<10>
var ownId = split(existingProjectId, '/')
var account = ownProject ? ownId[8] : 'ai-${suffix}'
var project = ownProject ? ownId[10] : 'chat'

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: 'rg-${environmentName}'
  location: location
  tags: tags
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  scope: group
  params: {
    location: location
    tags: tags
    suffix: suffix
    retentionDays: logRetentionDays
  }
}

module host 'modules/host.bicep' = {
  name: 'host'
  scope: group
  params: {
    location: location
    tags: tags
    suffix: suffix
    workspaceId: monitoring.outputs.workspaceId
  }
}

module watching 'modules/watching.bicep' = {
  name: 'watching'
  scope: group
  params: {
    location: location
    tags: tags
    suffix: suffix
    insightsName: monitoring.outputs.insightsName
    appPrincipalId: host.outputs.identityPrincipalId
    alertEmail: alertEmail
    monthlyBudget: monthlyBudget
    budgetStart: budgetStart
  }
}

module foundry 'modules/foundry.bicep' = if (makesFoundry) {
  name: 'foundry'
  scope: group
  params: {
    location: empty(aiLocation) ? location : aiLocation
    tags: tags
    accountName: account
    projectName: project
    modelName: modelName
    modelVersion: modelVersion
    modelSku: modelSku
    modelCapacity: modelCapacity
  }
}

module access 'modules/project-access.bicep' = if (hasProject) {
  name: 'project-access-${suffix}'
  scope: resourceGroup(
    ownProject ? ownId[2] : subscription().subscriptionId,
    ownProject ? ownId[4] : 'rg-${environmentName}'
  )
  params: {
    accountName: account
    projectName: project
    appPrincipalId: host.outputs.identityPrincipalId
    appRoleId: agentRoleId
    deployerPrincipalId: makesFoundry ? deployer().objectId : ''
  }
  dependsOn: [foundry]
}

// azd keeps these as environment values: azure.yaml's hooks, chat-api.parameters.json and docs/deploy.md use them.
output AZURE_RESOURCE_GROUP string = group.name
output AZURE_CONTAINER_REGISTRY_ENDPOINT string = host.outputs.registryEndpoint
output AZURE_CONTAINER_APPS_ENVIRONMENT_NAME string = host.outputs.environmentName
output AZURE_IDENTITY_NAME string = host.outputs.identityName
output AZURE_IDENTITY_CLIENT_ID string = host.outputs.identityClientId // not AZURE_CLIENT_ID: azd's own sign-in reads that
output AZURE_LOG_ANALYTICS_WORKSPACE_ID string = monitoring.outputs.workspaceCustomerId
output AZURE_APPLICATION_INSIGHTS_NAME string = monitoring.outputs.insightsName
output AZURE_CHAT_API_NAME string = host.outputs.appName
output AZURE_CHAT_API_URI string = host.outputs.appUri
output AZURE_AI_ENDPOINT string = hasProject ? access!.outputs.endpoint : ''
output AZURE_AI_PROJECT_NAME string = hasProject ? project : ''
output AZURE_AI_PROJECT_ENDPOINT string = hasProject ? access!.outputs.projectEndpoint : ''
output AZURE_AI_MODEL_DEPLOYMENT_NAME string = makesFoundry ? modelName : ''
output AZURE_AI_AGENT_ID string = hasProject ? agentName : ''
